package main

import (
	"errors"
	"regexp"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/procfile"
)

func newConfig() *cobra.Command {
	var asJSON, schema, secrets bool
	cmd := &cobra.Command{
		Use:   "config [FILE]",
		Short: "Check a process file, and print what it comes to",
		Long: `Reads a process file (pithos.yaml here, in the folder FILE, or the file FILE itself)
and prints it in its resolved form: variables replaced, paths absolute, commands split, defaults
filled in. What is wrong with it goes to standard error, each fault with its line, column and
field. The password of the registry is printed as *** unless --secrets is given.

With --schema it prints the JSON schema of process files instead, for editors.`,
		Example: `  pithos config
  pithos config --json examples/tryrpc
  pithos config --schema > pithos.schema.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				if len(args) > 0 {
					return errors.New("--schema takes no file")
				}
				text, err := procfile.Schema()
				return errors.Join(err, printTo(cmd, text))
			}
			f, err := procfile.Load(fileArgument(args))
			if err != nil {
				return err
			}
			if !secrets {
				f.Registry = maskPassword(f.Registry)
			}
			text, err := f.Marshal()
			if err == nil && asJSON {
				text, err = yaml.YAMLToJSON(text)
			}
			return errors.Join(err, printTo(cmd, text))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of process files")
	cmd.Flags().BoolVar(&secrets, "secrets", false, "print the registry's password, too")
	return cmd
}

// fileArgument is where a process file is looked for.
func fileArgument(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func printTo(cmd *cobra.Command, text []byte) error {
	_, err := cmd.OutOrStdout().Write(text)
	return err
}

var passwordInURL = regexp.MustCompile(`^(\w+://[^:/?]*):[^/?]*@`)

func maskPassword(url string) string { return passwordInURL.ReplaceAllString(url, "$1:***@") }
