package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/wire"
)

// build is which build this is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Protocol struct {
		Lowest uint32 `json:"lowest"`
		Newest uint32 `json:"newest"`
	} `json:"protocol"`
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is, and which versions of the protocol it speaks",
		Long: `Prints the version of the module, the revision it was built from, the Go that built
it, and the versions of the protocol that it speaks.`,
		Example: `  pithos version
  pithos version --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			b := buildOf(info)
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(b)
			}
			return b.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// buildOf is what info says, which may be nil.
func buildOf(info *debug.BuildInfo) build {
	b := build{Version: "unknown", Revision: "unknown",
		Go: fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)}
	b.Protocol.Lowest, b.Protocol.Newest = wire.MinVersion, wire.Version
	if info != nil {
		if info.Main.Version != "" {
			b.Version = info.Main.Version
		}
		b.Revision = revisionOf(info)
	}
	return b
}

// print writes one thing a line.
func (b build) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "pithos    %s\nrevision  %s\ngo        %s\nprotocol  %s\n",
		b.Version, b.Revision, b.Go, rangeOf(b.Protocol.Lowest, b.Protocol.Newest))
	return err
}

// revisionOf is the commit that info names, with its time and a word when the tree had changes.
func revisionOf(info *debug.BuildInfo) string {
	set := make(map[string]string)
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	r := set["vcs.revision"]
	if r == "" {
		return "unknown"
	}
	if t := set["vcs.time"]; t != "" {
		r += " of " + t
	}
	if set["vcs.modified"] == "true" {
		r += ", with changes"
	}
	return r
}

// rangeOf shows a range of versions.
func rangeOf(lowest, newest uint32) string {
	if lowest == newest {
		return fmt.Sprint(lowest)
	}
	return fmt.Sprintf("%d to %d", lowest, newest)
}
