package service

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Variable is the environment variable with the Assignment of a process.
const Variable = "PITHOS_SERVICES"

// Assignment says which services a process runs, and with what. The package comment has its JSON.
type Assignment struct {
	Application string              `json:"application,omitempty"`
	Process     string              `json:"process,omitempty"`
	Instance    int                 `json:"instance"`
	Services    map[string]Assigned `json:"services,omitempty"`
	All         bool                `json:"all"`
	Hub         string              `json:"hub,omitempty"`
	Registry    string              `json:"registry,omitempty"`
}

// Assigned is one service of an Assignment.
type Assigned struct {
	// Config is what Env.Config decodes; nil: the service's own defaults.
	Config json.RawMessage `json:"config,omitempty"`
	// Weak services run where they are known, and are left out elsewhere.
	Weak bool `json:"weak,omitempty"`
}

// ParseAssignment reads the value of Variable. An empty one means all services, without
// configuration.
func ParseAssignment(text string) (Assignment, error) {
	if text == "" {
		return Assignment{All: true}, nil
	}
	var a Assignment
	err := json.Unmarshal([]byte(text), &a)
	if err == nil && a.Instance < 0 {
		err = fmt.Errorf("instance %d, want 0 or more", a.Instance)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		err = fmt.Errorf("at byte %d: %w", syntax.Offset, err)
	}
	if err != nil {
		return Assignment{}, fmt.Errorf("service: %s: %w", Variable, err)
	}
	return a, nil
}
