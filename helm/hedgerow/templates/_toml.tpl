{{- /*
The server's configuration as TOML. Helm's toToml writes whole numbers as floats (2e+00), which the
server refuses: values come from YAML as floats. "hedgerow.toml" takes {path: […], table: {…}}.
*/ -}}
{{- define "hedgerow.toml" -}}
{{- $path := .path -}}
{{- $tables := dict -}}
{{- $lines := list -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $tables $key $value -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $lines = append $lines (printf "%s = %s" (include "hedgerow.toml.key" $key) (include "hedgerow.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{{- if $lines }}
{{- if $path }}
{{ printf "[%s]" (join "." $path) }}
{{- end }}
{{- range $lines }}
{{ . }}
{{- end }}
{{- end }}
{{- range $key, $table := $tables }}
{{- include "hedgerow.toml" (dict "path" (append $path (include "hedgerow.toml.key" $key)) "table" $table) }}
{{- end }}
{{- end }}

{{- define "hedgerow.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ include "hedgerow.toml.text" . }}{{ end -}}
{{- end }}

{{- /* JSON's escapes are TOML's, but TOML has no raw DEL. */ -}}
{{- define "hedgerow.toml.text" -}}
{{- toJson . | replace "\x7f" "\\u007F" -}}
{{- end }}

{{- define "hedgerow.toml.value" -}}
{{- if kindIs "string" . -}}
{{- include "hedgerow.toml.text" . -}}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "hedgerow.toml.value" .) }}{{ end -}}
{{- printf "[%s]" (join ", " $items) -}}
{{- else if kindIs "float64" . -}}
{{- /* A whole number below 2^53 is written as one; the server takes it for a float too. */ -}}
{{- if and (eq (floor .) .) (lt . 9007199254740992.0) (gt . -9007199254740992.0) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- else if or (kindIs "bool" .) (kindIs "int64" .) (kindIs "int" .) -}}
{{- toString . -}}
{{- else -}}
{{- fail (printf "config: %s has no place in a list" (kindOf .)) -}}
{{- end -}}
{{- end }}

{{- /* The configuration with what the chart sets. */ -}}
{{- define "hedgerow.config" -}}
{{- $v := .Values -}}
{{- $listen := ternary (printf "[%s]" $v.listen) $v.listen (contains ":" $v.listen) -}}
{{- $all := ternary $listen "127.0.0.1" (eq $v.mode "service") -}}
{{- $admin := ternary $listen "127.0.0.1" (and (eq $v.mode "service") $v.admin.exposed) -}}
{{- $server := dict
  "http" (printf "%s:%v" $all $v.ports.http)
  "grpc" (printf "%s:%v" $all $v.ports.grpc)
  "admin" (printf "%s:%v" $admin $v.ports.admin) -}}
{{- if eq $v.mode "sidecar" -}}
{{- $_ := set $server "http_unix" "/run/hedgerow/http.sock" -}}
{{- $_ := set $server "grpc_unix" "/run/hedgerow/grpc.sock" -}}
{{- end -}}
{{- $set := dict "server" $server "models" (dict "dir" "/models") -}}
{{- $default := dict "journal" (dict "store" "/var/lib/hedgerow/journal") -}}
{{- $config := mergeOverwrite $default (deepCopy $v.config) $set -}}
{{- include "hedgerow.toml" (dict "path" list "table" $config) | trim -}}
{{- end }}
