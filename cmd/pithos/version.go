package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/wire"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which build this is, and which versions of the protocol it speaks",
		Long: `Prints the version of the module, the revision it was built from, the Go that built
it, and the versions of the protocol that it speaks.`,
		Example: `  pithos version`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			return printVersion(cmd.OutOrStdout(), info)
		},
	}
}

// printVersion writes what info says, which may be nil, one thing a line.
func printVersion(w io.Writer, info *debug.BuildInfo) error {
	version, revision := "unknown", "unknown"
	if info != nil {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		revision = revisionOf(info)
	}
	_, err := fmt.Fprintf(w, "pithos    %s\nrevision  %s\ngo        %s %s/%s\nprotocol  %s\n",
		version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH,
		rangeOf(wire.MinVersion, wire.Version))
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
