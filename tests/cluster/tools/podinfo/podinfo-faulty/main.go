// Command podinfo-faulty is podinfo as a broken release: every third answer is an error.
//
// Podinfo's own switch for errors draws once a second for all requests of that second, so that a
// short analysis may see none of them; this one spreads them evenly.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	podinfo "github.com/stefanprodan/podinfo/pkg/api/http"
	"go.uber.org/zap"
)

const timeout = 30 * time.Second

func main() {
	port := flag.String("port", "9898", "HTTP port")
	flag.String("level", "info", "ignored: this one logs nothing")
	flag.Parse()

	hostname, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	server, err := podinfo.NewServer(&podinfo.Config{
		Port:              *port,
		SecurePort:        "0",
		Hostname:          hostname,
		UIMessage:         os.Getenv("PODINFO_UI_MESSAGE"),
		HttpClientTimeout: timeout,
		HttpServerTimeout: timeout,
	}, zap.NewNop())
	if err != nil {
		log.Fatal(err)
	}
	listening, _, _, ready := server.ListenAndServe()
	listening.Handler = failing(listening.Handler)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	atomic.StoreInt32(ready, 0)
	ending, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := listening.Shutdown(ending); err != nil {
		log.Fatal(err)
	}
}

// failing answers every third request with an error; probes are not counted.
func failing(inner http.Handler) http.Handler {
	var requests atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := strings.HasPrefix(r.URL.Path, "/healthz") || strings.HasPrefix(r.URL.Path, "/readyz")
		if !probe && requests.Add(1)%3 == 0 {
			http.Error(w, "this release is broken", http.StatusInternalServerError)
			return
		}
		inner.ServeHTTP(w, r)
	})
}
