package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/procfile"
)

// The parts of the process files that init writes. NAME stands for the name of the application, or
// of a process, PACKAGE for that of a Go program, FIRST for the first process.
var (
	//go:embed init/head.yaml
	initHead string
	//go:embed init/tail.yaml
	initTail string
	//go:embed init/go.yaml
	initGo string
	//go:embed init/node.yaml
	initNode string
	//go:embed init/command.yaml
	initCommand string
)

// initKinds are the kinds of programs that init knows.
var initKinds = []string{"go", "node", "command"}

func newInit() *cobra.Command {
	var dir, name string
	var force bool
	cmd := &cobra.Command{
		Use:   "init [go | node | command]",
		Short: "Write a process file to begin with",
		Long: `Writes pithos.yaml for a Go program, a Node program or a plain command, with comments
that say what else there is. Without an argument it looks at the folder: go.mod is for Go,
package.json for Node. A file that is there is left alone, unless --force is given.`,
		Example: `  pithos init
  pithos init node --name shop
  pithos init command --dir ../shop`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, text, err := initFile(dir, name, args)
			if err != nil {
				return err
			}
			how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
			if force {
				how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
			}
			f, err := os.OpenFile(path, how, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already; --force replaces it", path)
			}
			if err != nil {
				return err
			}
			_, err = f.WriteString(text)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is written; \"pithos dev\" runs it\n", path)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the folder of the application")
	cmd.Flags().StringVar(&name, "name", "", "the name of the application (default: the folder's)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	return cmd
}

// initFile makes a process file for what is in dir.
func initFile(dir, name string, args []string) (path, text string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return "", "", fmt.Errorf("%s is no folder", dir)
	}
	kind := initKind(dir)
	if len(args) > 0 {
		if kind = args[0]; !slices.Contains(initKinds, kind) {
			return "", "", fmt.Errorf("%q: want %s", kind, strings.Join(initKinds, ", "))
		}
	}
	if name == "" {
		name = initName(filepath.Base(dir))
	}
	var body string
	switch kind {
	case "go":
		body = initGoProcesses(dir)
	case "node":
		body = initNode
	default:
		body = initCommand
	}
	first, _, _ := strings.Cut(strings.TrimSpace(body), ":")
	text = strings.ReplaceAll(initHead, "NAME", name) + body +
		strings.ReplaceAll(initTail, "FIRST", first)
	path = filepath.Join(dir, procfile.FileName)
	var faults procfile.Errors
	if _, err = procfile.Parse(path, []byte(text), os.LookupEnv); errors.As(err, &faults) &&
		faults[0].Field == "name" {
		return "", "", fmt.Errorf("--name: %s", faults[0].What)
	}
	return path, text, err
}

// initKind says by the files in dir what is there.
func initKind(dir string) string {
	for kind, file := range map[string]string{"go": "go.mod", "node": "package.json"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return kind
		}
	}
	return "command"
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// initName makes a name of that of a folder.
func initName(folder string) string {
	name := strings.Trim(notInName.ReplaceAllString(folder, "-"), "-._")
	if name == "" {
		return "app"
	}
	return name[:min(len(name), 63)]
}

// initGoProcesses is a process for each program of the module in dir, as far as their folders have
// the usual places: the module's own, and those in cmd.
func initGoProcesses(dir string) string {
	var b strings.Builder
	programs, _ := filepath.Glob(filepath.Join(dir, "cmd", "*", "*.go"))
	seen := make(map[string]bool)
	for _, file := range programs {
		folder := filepath.Base(filepath.Dir(file))
		if name := initName(folder); !seen[folder] {
			seen[folder] = true
			b.WriteString(strings.NewReplacer("NAME", name, "PACKAGE", "./cmd/"+folder).
				Replace(initGo))
		}
	}
	if len(seen) == 0 {
		return strings.NewReplacer("NAME", "main", "PACKAGE", ".").Replace(initGo)
	}
	return b.String()
}
