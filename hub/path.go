package hub

import (
	"os"
	"path/filepath"
)

// pandoraSocket is the name of the socket that Pandora's clients look for.
const pandoraSocket = "pandorajs_pandora_msg_hub.sock"

// PandoraPath is where Pandora's clients look for their hub: in the folder $PANDORA_TMP_DIR or,
// without it, in the system's temporary folder.
func PandoraPath() string {
	dir := os.Getenv("PANDORA_TMP_DIR")
	if dir == "" {
		dir = os.TempDir()
	}
	return filepath.Join(dir, pandoraSocket)
}
