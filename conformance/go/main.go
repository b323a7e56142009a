// Command conformance asks for tokens as one of Go's SDKs does, for the conformance suite.
//
// Its argument names the SDK. It first says which one it is, then answers each line of JSON on standard input, a cell, with one of its
// own. Every cell gets a process of its own: MSAL keeps what it got for the whole process.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

const (
	patience = 50 * time.Second
	oneCell  = "--cell"
	longest  = 1000
)

// Selector names a user-assigned identity.
type Selector struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// Cell is one question of the harness.
type Cell struct {
	ID                string    `json:"id"`
	Client            string    `json:"client"`
	Selector          *Selector `json:"selector"`
	Resource          string    `json:"resource"`
	Times             int       `json:"times"`
	Tenant            string    `json:"tenant"`
	ClientID          string    `json:"client_id"`
	Secret            string    `json:"secret"`
	Certificate       string    `json:"certificate"`
	AssertionResource string    `json:"assertion_resource"`
}

// Token is what an SDK gave.
type Token struct {
	value   string
	expires time.Time
}

// source is a credential of an SDK that is to be asked for a cell's resource.
type source func(context.Context) (Token, error)

// Answer is what became of a cell.
type Answer struct {
	ID          string `json:"id"`
	Token       string `json:"token,omitempty"`
	ExpiresOn   int64  `json:"expires_on,omitempty"`
	Error       string `json:"error,omitempty"`
	Unsupported string `json:"unsupported,omitempty"`
}

// sdk is one library under test: the module it comes in, and how it is asked.
type sdk struct {
	module string
	open   func(Cell) (source, error)
}

// unsupported says why a library has no way to ask what a cell asks.
type unsupported string

func (u unsupported) Error() string { return string(u) }

var sdks = map[string]sdk{
	"azidentity": {"github.com/Azure/azure-sdk-for-go/sdk/azidentity", openAzidentity},
	"MSAL Go":    {"github.com/AzureAD/microsoft-authentication-library-for-go", openMSAL},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say which SDK: azidentity or MSAL Go")
	}
	name := arguments[0]
	chosen, known := sdks[name]
	if !known {
		return fmt.Errorf("there is no SDK called %q", name)
	}
	if len(arguments) > 1 && arguments[1] == oneCell {
		return answerOne(chosen)
	}
	version, err := versionOf(chosen.module)
	if err != nil {
		return err
	}
	about := map[string]string{"sdk": name, "version": version, "language": "Go", "runtime": runtime.Version()}
	if err := json.NewEncoder(os.Stdout).Encode(about); err != nil {
		return err
	}
	return answerAll(name)
}

func versionOf(module string) (string, error) {
	info, _ := debug.ReadBuildInfo()
	for _, one := range info.Deps {
		if one.Path == module {
			return strings.TrimPrefix(one.Version, "v"), nil
		}
	}
	return "", fmt.Errorf("%s is not built in", module)
}

func answerAll(name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		child := exec.Command(self, name, oneCell)
		child.Stdin = strings.NewReader(lines.Text())
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Run(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answerOne(chosen sdk) error {
	var cell Cell
	if err := json.NewDecoder(os.Stdin).Decode(&cell); err != nil {
		return err
	}
	token, err := ask(chosen, cell)
	return json.NewEncoder(os.Stdout).Encode(told(cell.ID, token, err))
}

func ask(chosen sdk, cell Cell) (Token, error) {
	opened, err := chosen.open(cell)
	if err != nil {
		return Token{}, err
	}
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	token, err := opened(ctx)
	for asked := 1; asked < cell.Times && err == nil; asked++ {
		token, err = opened(ctx)
	}
	return token, err
}

func told(id string, token Token, err error) Answer {
	var lacking unsupported
	switch {
	case errors.As(err, &lacking):
		return Answer{ID: id, Unsupported: lacking.Error()}
	case err != nil:
		return Answer{ID: id, Error: fmt.Sprintf("%T: %s", err, shortened(err.Error()))}
	default:
		return Answer{ID: id, Token: token.value, ExpiresOn: token.expires.Unix()}
	}
}

// shortened puts a message on one line: what the endpoint said comes last in these SDKs' errors.
func shortened(text string) string {
	line := strings.Join(strings.Fields(text), " ")
	if len(line) > longest {
		line = line[:longest/2] + " ... " + line[len(line)-longest/2:]
	}
	return line
}
