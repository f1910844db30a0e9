// Reads a Canary as YAML from standard input into Flagger's own types; a field that they do not have
// is an error.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = yaml.UnmarshalStrict(text, &v1beta1.Canary{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
