// Validate reads what idplane is deployed with, as the programs that will read it do: the chart through Helm's own engine and
// Kubernetes' own types, every member known, and the compose file through Compose's own loader.
//
//	validate chart DIR [VALUES.yaml]...     render with the defaults, and with each file of values
//	validate refuses DIR VALUES.yaml        the chart's schema must refuse these values
//	validate compose FILE
//	validate manifest FILE
//
// With SETTINGS_TO in the environment, the settings files that config maps hold are written into that folder, for their own readers.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("usage: validate chart|refuses|compose PATH ...")
	}
	switch kind, path := arguments[0], arguments[1]; kind {
	case "chart":
		if err := render(path, ""); err != nil {
			return fmt.Errorf("defaults: %w", err)
		}
		for _, values := range arguments[2:] {
			if err := render(path, values); err != nil {
				return fmt.Errorf("%s: %w", values, err)
			}
		}
		return nil
	case "refuses":
		if err := render(path, arguments[2]); err == nil {
			return fmt.Errorf("%s: these values should have been refused", arguments[2])
		}
		return nil
	case "compose":
		return compose(path)
	case "manifest":
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := decode(string(text), path)
		fmt.Printf("%s: %d objects\n", path, found)
		return err
	default:
		return fmt.Errorf("unknown kind %q", kind)
	}
}

// render renders the chart and decodes every document strictly: an unknown kind or member, or one that is there twice, is an error.
func render(path, valuesFile string) error {
	chart, err := loader.Load(path)
	if err != nil {
		return err
	}
	given := chartutil.Values{}
	if valuesFile != "" {
		if given, err = chartutil.ReadValuesFile(valuesFile); err != nil {
			return err
		}
	}
	options := chartutil.ReleaseOptions{Name: "test", Namespace: "identity", Revision: 1, IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, given, options, chartutil.DefaultCapabilities)
	if err != nil {
		return err
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	count := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		found, err := decode(files[name], name+valuesFile)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		count += found
	}
	if count == 0 {
		return errors.New("the chart renders nothing")
	}
	fmt.Printf("%s %s: %d objects\n", path, valuesFile, count)
	return nil
}

func decode(text, origin string) (int, error) {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	count := 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		if len(bytes.TrimSpace(stripped(document))) == 0 {
			continue
		}
		object, kind, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return count, err
		}
		if err := keepSettings(object, origin); err != nil {
			return count, err
		}
		if err := check(object); err != nil {
			return count, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		count++
	}
}

func keepSettings(object runtime.Object, origin string) error {
	folder := os.Getenv("SETTINGS_TO")
	one, is := object.(*corev1.ConfigMap)
	if folder == "" || !is {
		return nil
	}
	for name, text := range one.Data {
		path := filepath.Join(folder, strings.NewReplacer("/", "-", ".", "-").Replace(origin)+"-"+name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func stripped(document []byte) []byte {
	var kept []byte
	for _, line := range bytes.Split(document, []byte("\n")) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) && !bytes.HasPrefix(line, []byte("---")) {
			kept = append(append(kept, line...), '\n')
		}
	}
	return kept
}

func compose(path string) error {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithName("idplane"), cli.WithResolvedPaths(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d services\n", path, len(project.Services))
	return nil
}
