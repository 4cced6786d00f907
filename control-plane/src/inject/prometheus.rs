//! Merging of the application's metrics: Prometheus scrapes the proxy, and the proxy scrapes the
//! application at the place that the pod's own annotations named.

use serde::Serialize;

use super::annotation::{
    Annotations, InvalidAnnotation, MERGE_METRICS, SCRAPE, SCRAPE_PATH, SCRAPE_PORT,
};

/// Where the proxy serves its own and the application's metrics together.
pub(crate) const MERGED: [(&str, &str); 3] = [
    (SCRAPE, "true"),
    (SCRAPE_PORT, "15020"),
    (SCRAPE_PATH, "/stats/prometheus"),
];

/// The application's own scrape settings, as the proxy reads them from its environment.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct AppScrape<'a> {
    scrape: &'a str,
    path: &'a str,
    port: &'a str,
}

/// What injection does with the pod's scrape annotations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Merge<'a> {
    /// The pod asked not to be scraped, or not to be merged.
    Leave,
    /// Prometheus is sent to the proxy, which adds the application's metrics where it has some.
    Redirect(Option<AppScrape<'a>>),
}

pub(crate) fn plan(annotations: Annotations<'_>) -> Result<Merge<'_>, InvalidAnnotation> {
    let declined = annotations.flag(MERGE_METRICS)? == Some(false);
    let scrape = annotations.text(SCRAPE);
    if declined || scrape == Some("false") {
        return Ok(Merge::Leave);
    }
    let app = scrape.map(|scrape| AppScrape {
        scrape,
        path: annotations.text(SCRAPE_PATH).unwrap_or("/metrics"),
        port: annotations.text(SCRAPE_PORT).unwrap_or("80"),
    });
    Ok(Merge::Redirect(app))
}
