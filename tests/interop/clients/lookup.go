// Looks each name up with Go's own resolver; prints what lookup.c prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	for _, name := range os.Args[1:] {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		found, err := resolver.LookupHost(ctx, name)
		cancel()
		fmt.Print(name)
		var missing *net.DNSError
		if errors.As(err, &missing) {
			fmt.Printf(" error notfound=%t", missing.IsNotFound)
		}
		for _, address := range found {
			fmt.Print(" ", address)
		}
		fmt.Println()
	}
}
