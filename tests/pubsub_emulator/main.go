// An emulator of Pub/Sub on loopback: Google's own fake for tests, and what became of each message.
//
// Prints "pubsub=HOST:PORT messages=http://HOST:PORT/" once it serves. The second address answers
// with the messages as JSON: topic, deliveries and acknowledgements.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"

	"cloud.google.com/go/pubsub/v2/pstest"
)

type message struct {
	Topic      string `json:"topic"`
	Deliveries int    `json:"deliveries"`
	Acks       int    `json:"acks"`
}

func main() {
	server := pstest.NewServer()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("pubsub=%s messages=http://%s/\n", server.Addr, listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(
		func(answer http.ResponseWriter, _ *http.Request) {
			messages := []message{}
			for _, each := range server.Messages() {
				messages = append(messages, message{each.Topic, each.Deliveries, each.Acks})
			}
			if err := json.NewEncoder(answer).Encode(messages); err != nil {
				log.Print(err)
			}
		})))
}
