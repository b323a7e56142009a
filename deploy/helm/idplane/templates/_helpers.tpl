{{- define "idplane.name" -}}
{{- if contains "idplane" .Release.Name }}{{ .Release.Name | trunc 50 }}{{ else }}{{ printf "%s-idplane" .Release.Name | trunc 50 }}{{ end -}}
{{- end }}

{{- define "idplane.labels" -}}
app.kubernetes.io/name: idplane
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "idplane.allLabels" -}}
{{ include "idplane.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "idplane.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
