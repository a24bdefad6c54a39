// A Flight SQL server for tests: Arrow's own example over SQLite, behind a login, with or without TLS.
//
// It writes one line to stdout when it listens ("listening on HOST:PORT") and one for each query: "started", and
// "finished", "cancelled" or "failed" when its rows have gone out or will not. FLIGHTSQL_USER, FLIGHTSQL_PASSWORD and
// FLIGHTSQL_TOKEN say who may come in.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/example"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// logins knows one user, one token that never ends, and the tokens it gave for the password.
type logins struct{ user, password, token, session string }

func (l logins) Validate(user, password string) (string, error) {
	if same(user, l.user) && same(password, l.password) {
		return l.session, nil
	}
	return "", status.Error(codes.Unauthenticated, "unknown user or wrong password")
}

func (l logins) IsValid(token string) (any, error) {
	if same(token, l.session) || same(token, l.token) {
		return l.user, nil
	}
	return nil, status.Error(codes.Unauthenticated, "invalid token")
}

func same(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func told(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !strings.HasSuffix(info.FullMethod, "/DoGet") {
		return handler(server, stream)
	}
	fmt.Println("started")
	err := handler(server, stream)
	switch {
	case errors.Is(stream.Context().Err(), context.Canceled):
		fmt.Println("cancelled")
	case err != nil:
		fmt.Println("failed")
	default:
		fmt.Println("finished")
	}
	return err
}

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	certificate := flag.String("certificate", "", "PEM file; with it and -key the server speaks TLS")
	key := flag.String("key", "", "PEM file")
	flag.Parse()

	var options []grpc.ServerOption
	if *certificate != "" {
		tls, err := credentials.NewServerTLSFromFile(*certificate, *key)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(tls))
	}
	db, err := example.CreateDB()
	if err != nil {
		log.Fatal(err)
	}
	service, err := example.NewSQLiteFlightSQLServer(db)
	if err != nil {
		log.Fatal(err)
	}
	session := make([]byte, 16)
	if _, err := rand.Read(session); err != nil {
		log.Fatal(err)
	}
	allowed := logins{
		os.Getenv("FLIGHTSQL_USER"), os.Getenv("FLIGHTSQL_PASSWORD"), os.Getenv("FLIGHTSQL_TOKEN"),
		hex.EncodeToString(session),
	}
	server := flight.NewServerWithMiddleware(
		[]flight.ServerMiddleware{flight.CreateServerBasicAuthMiddleware(allowed), {Stream: told}}, options...)
	server.RegisterFlightService(flightsql.NewFlightServer(service))
	if err := server.Init(*address); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", server.Addr())
	log.Fatal(server.Serve())
}
