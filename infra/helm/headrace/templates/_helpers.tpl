{{/* Arguments of most of these templates: `root`, the scope of the chart, and `component`, the process. */}}

{{- define "headrace.labels" -}}
app.kubernetes.io/name: headrace
app.kubernetes.io/part-of: headrace
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "headrace.podLabels" -}}
app.kubernetes.io/name: headrace
app.kubernetes.io/part-of: headrace
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "headrace.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The settings that all processes read. The migration gets them directly, because it runs before the ConfigMap exists. */}}
{{- define "headrace.settings" -}}
HEADRACE_HOST: "0.0.0.0"
HEADRACE_HEALTH_PORT: "8081"
HEADRACE_URL: {{ .Values.url | quote }}
{{- if .Values.tls.authoritySecret }}
HEADRACE_CA_FILE: /etc/headrace/authority/ca.crt
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "headrace.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "headrace.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "headrace.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* An environment variable from the Secret; arguments: root, name, key, optional. */}}
{{- define "headrace.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.secretName }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end }}

{{/* The login at NATS; arguments: root, user. Kubernetes expands only variables that come earlier in the list. */}}
{{- define "headrace.natsVariables" -}}
{{ include "headrace.secretVariable" (dict "root" .root "name" "NATS_PASSWORD" "key" (printf "nats-%s" .user)) }}
- name: HEADRACE_NATS_URL
  value: {{ printf "%s://%s:$(NATS_PASSWORD)@%s" (ternary "tls" "nats" .root.Values.nats.tls) .user .root.Values.nats.servers | quote }}
{{- end }}

{{/* The login at MongoDB and the master key; arguments: root, user. */}}
{{- define "headrace.databaseVariables" -}}
{{ include "headrace.secretVariable" (dict "root" .root "name" "MONGODB_PASSWORD" "key" (printf "mongodb-%s" .user)) }}
- name: HEADRACE_MONGODB_URL
  value: {{ printf "mongodb://%s:$(MONGODB_PASSWORD)@%s" .user .root.Values.mongodb.address | quote }}
{{ include "headrace.secretVariable" (dict "root" .root "name" "HEADRACE_MASTER_KEY" "key" "master-key") }}
{{- end }}

{{- define "headrace.authorityMount" -}}
{{- if .Values.tls.authoritySecret }}
- {name: authority, mountPath: /etc/headrace/authority, readOnly: true}
{{- end }}
{{- end }}

{{- define "headrace.authorityVolume" -}}
{{- if .Values.tls.authoritySecret }}
- {name: authority, secret: {secretName: {{ .Values.tls.authoritySecret }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- end }}

{{- define "headrace.gatewayScheme" -}}
{{ ternary "https" "http" (not (empty .Values.gateway.tlsSecret)) }}
{{- end }}
