// What those who deploy make of an object, by their own code: kstatus, which Flux waits by, and the Lua of Argo CD. Reads one object as JSON or YAML on standard input, and writes one line of JSON.
//
//	gitops kstatus
//	gitops argo-health HEALTH.lua
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	judged, err := judge(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(judged); err != nil {
		panic(err)
	}
}

func judge(args []string) (verdict, error) {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return verdict{}, err
	}
	object := map[string]any{}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return verdict{}, err
	}
	switch {
	case len(args) == 1 && args[0] == "kstatus":
		return kstatus(object)
	case len(args) == 2 && args[0] == "argo-health":
		return argoHealth(object, args[1])
	}
	return verdict{}, fmt.Errorf("usage: gitops kstatus | gitops argo-health FILE")
}

func kstatus(object map[string]any) (verdict, error) {
	// Whole numbers are int64 there, as in every client of the API.
	text, err := json.Marshal(object)
	if err != nil {
		return verdict{}, err
	}
	parsed := &unstructured.Unstructured{}
	if err := parsed.UnmarshalJSON(text); err != nil {
		return verdict{}, err
	}
	result, err := status.Compute(parsed)
	if err != nil {
		return verdict{}, err
	}
	return verdict{Status: result.Status.String(), Message: result.Message}, nil
}

// With none but libraries that Argo CD opens, too, where an administrator did not let it open all: string is not one of them.
func argoHealth(object map[string]any, file string) (verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		state.Push(state.NewFunction(library.open))
		state.Push(lua.LString(library.name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoFile(file); err != nil {
		return verdict{}, err
	}
	returned, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return verdict{}, fmt.Errorf("%s returned no table", file)
	}
	return verdict{Status: returned.RawGetString("status").String(), Message: returned.RawGetString("message").String()}, nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}
