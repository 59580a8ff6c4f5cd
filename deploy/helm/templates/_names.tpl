{{- define "neuroroute.name" -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- end }}
{{- define "neuroroute.secret" -}}{{ .Values.existingSecret | default (include "neuroroute.name" .) }}{{- end }}
{{- define "neuroroute.selector" -}}
app.kubernetes.io/name: neuroroute
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "neuroroute.labels" -}}
{{ include "neuroroute.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
