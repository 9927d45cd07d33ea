// Compose's own loader: reads compose files as `docker compose` does and prints the project as JSON.
//
//	compose [-profile NAME]... FILE...
//
// Files after the first are laid over it. What the specification does not allow ends it with status 1 and a line.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func load(files, profiles []string) ([]byte, error) {
	options, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithProfiles(profiles))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return project.MarshalJSON()
}

func main() {
	var profiles []string
	flag.Func("profile", "a profile to switch on", func(name string) error {
		profiles = append(profiles, name)
		return nil
	})
	flag.Parse()
	project, err := load(flag.Args(), profiles)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(project)
}
