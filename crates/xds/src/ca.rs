//! The certificate service `istio.v1.auth.IstioCertificateService`: messages, client and server.
//!
//! Written by hand, since it has one method of two small messages. Transport only: what is signed
//! and for whom is decided elsewhere.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::pb::google::protobuf::Struct;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{Bytes, StdError, http};
use tonic::server::{Grpc as ServerGrpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Path of the one method.
const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// A request for a certificate.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateRequest {
    /// PEM of the certificate signing request; only its key counts.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Life that is asked for, in seconds; 0 leaves it to the signer.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// Further wishes, such as `ClusterID`.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CertificateResponse {
    /// PEM: the leaf first, the root last.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

/// Asks for certificates.
#[derive(Clone, Debug)]
pub struct CertificateClient<T> {
    inner: Grpc<T>,
}

impl<T> CertificateClient<T>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    /// A client over a channel.
    pub fn new(channel: T) -> Self {
        Self {
            inner: Grpc::new(channel),
        }
    }

    /// Asks for a certificate; the caller's token goes into the request's metadata.
    ///
    /// # Errors
    /// When the service cannot be reached or refuses.
    pub async fn create_certificate(
        &mut self,
        request: Request<CertificateRequest>,
    ) -> Result<Response<CertificateResponse>, Status> {
        self.inner.ready().await.map_err(|error| {
            Status::unavailable(format!("certificate service: {}", error.into()))
        })?;
        let path = http::uri::PathAndQuery::from_static(METHOD);
        self.inner.unary(request, path, ProstCodec::default()).await
    }
}

/// Who signs.
pub trait CertificateService: Send + Sync + 'static {
    /// Signs, or says why not.
    fn create_certificate(
        &self,
        request: Request<CertificateRequest>,
    ) -> impl Future<Output = Result<Response<CertificateResponse>, Status>> + Send;
}

/// Serves a [`CertificateService`] over gRPC.
#[derive(Debug)]
pub struct CertificateServer<S> {
    inner: Arc<S>,
}

impl<S> CertificateServer<S> {
    /// A server of `service`.
    pub fn new(service: S) -> Self {
        Self {
            inner: Arc::new(service),
        }
    }
}

impl<S> Clone for CertificateServer<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> NamedService for CertificateServer<S> {
    const NAME: &'static str = "istio.v1.auth.IstioCertificateService";
}

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

struct Method<S>(Arc<S>);

impl<S: CertificateService> UnaryService<CertificateRequest> for Method<S> {
    type Response = CertificateResponse;
    type Future = BoxFuture<Response<CertificateResponse>, Status>;

    fn call(&mut self, request: Request<CertificateRequest>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move { service.create_certificate(request).await })
    }
}

impl<S, B> tonic::codegen::Service<http::Request<B>> for CertificateServer<S>
where
    S: CertificateService,
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<B>) -> Self::Future {
        if req.uri().path() != METHOD {
            let status = Status::unimplemented("no such method");
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let method = Method(Arc::clone(&self.inner));
        Box::pin(async move {
            let mut grpc = ServerGrpc::new(ProstCodec::default());
            Ok(grpc.unary(method, req).await)
        })
    }
}
