{{- define "hedgerow.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* A pod's name is this and up to 17 more, "-" and the hash of its template, "-" and five; 63 at the most. */ -}}
{{- define "hedgerow.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else if contains (include "hedgerow.name" .) .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hedgerow.name" .) | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "hedgerow.selector" -}}
app.kubernetes.io/name: {{ include "hedgerow.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hedgerow.labels" -}}
{{ include "hedgerow.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "hedgerow.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "hedgerow.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "hedgerow.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* What no schema can say of values that belong together. */ -}}
{{- define "hedgerow.check" -}}
{{- $v := .Values -}}
{{- range $key := list "http" "grpc" "admin" "http_unix" "grpc_unix" -}}
{{- if hasKey (default dict $v.config.server) $key -}}
{{- fail (printf "config.server.%s is set by the chart; see ports, admin.exposed and mode" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (default dict $v.config.models) "dir" -}}
{{- fail "config.models.dir is set by the chart: models are mounted at /models" -}}
{{- end -}}
{{- if eq $v.mode "service" -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is required: build the image and push it to a registry of yours, see docs/deploy.md" -}}
{{- end -}}
{{- $needed := get (dict "pvc" "pvc.claimName" "image" "image.reference" "copy" "copy.image") $v.models.source -}}
{{- $from := splitList "." $needed -}}
{{- if not (get (get $v.models (first $from)) (last $from)) -}}
{{- fail (printf "models.%s is required with models.source \"%s\"" $needed $v.models.source) -}}
{{- end -}}
{{- if lt (len (uniq (list $v.ports.http $v.ports.grpc $v.ports.admin))) 3 -}}
{{- fail "ports.http, ports.grpc and ports.admin must differ" -}}
{{- end -}}
{{- if and $v.admin.exposed (not $v.networkPolicy.enabled) -}}
{{- fail "admin.exposed needs networkPolicy.enabled: the admin port asks for no password" -}}
{{- end -}}
{{- if and (ne $v.metrics.scrape "none") (not $v.admin.exposed) -}}
{{- fail "metrics.scrape needs admin.exposed: metrics are served on the admin port" -}}
{{- end -}}
{{- if and $v.metrics.rules (eq $v.metrics.scrape "none") -}}
{{- fail "metrics.rules needs metrics.scrape: HedgerowAbsent would page for ever. Where Prometheus finds the pods by a configuration of its own, load helm/hedgerow/files/rules.yaml there" -}}
{{- end -}}
{{- if and (has $v.autoscaling.kind (list "adapter" "keda")) (eq $v.metrics.scrape "none") -}}
{{- fail (printf "autoscaling.kind \"%s\" needs metrics.scrape: it scales on what Prometheus measured" $v.autoscaling.kind) -}}
{{- end -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.state.claimName (or (ne $v.autoscaling.kind "none") (gt (int $v.replicas) 1)) -}}
{{- fail "state.claimName holds the journal of one replica: set replicas to 1 and autoscaling.kind to none, or use PostgreSQL" -}}
{{- end -}}
{{- else if $v.metrics.rules -}}
{{- fail "metrics.rules is for mode \"service\": Prometheus does not reach a sidecar's loopback, and HedgerowAbsent would page for ever. Set it in a release of that mode, or load helm/hedgerow/files/rules.yaml" -}}
{{- end -}}
{{- end }}
