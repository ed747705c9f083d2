package transport_test

import "os"

const childRole = "PITHOS_TEST_CHILD"

func runChild(role string) { os.Exit(2) }
