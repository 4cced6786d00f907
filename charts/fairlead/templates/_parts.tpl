{{/* Labels of every object. Call with (list . "component"). */}}
{{- define "fairlead.labels" -}}
{{- $root := index . 0 -}}
{{ include "fairlead.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fairlead
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* Labels by which Deployments find their pods; they never change. */}}
{{- define "fairlead.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ printf "fairlead-%s" (index . 1) }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* What all pods have in common: the standard *restricted*. */}}
{{- define "fairlead.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "fairlead.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end -}}

{{- define "fairlead.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: http-admin
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: http-admin
  periodSeconds: 2
{{- end -}}

{{/* Where a pod may run. Call with the component's values. */}}
{{- define "fairlead.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Annotations of a pod that Prometheus scrapes. Call with the component's values. */}}
{{- define "fairlead.podAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "8080"
prometheus.io/path: /metrics
{{- with .podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Environment that the operator and gitops have in common. */}}
{{- define "fairlead.env" -}}
- name: FAIRLEAD_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: FAIRLEAD_LEASE_NAMESPACE
  value: {{ .Release.Namespace }}
- name: FAIRLEAD_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: FAIRLEAD_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- end -}}

{{- define "fairlead.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The right to lead. Call with (list . "component"). */}}
{{- define "fairlead.leader" }}
{{- $root := index . 0 }}
{{- $name := printf "fairlead-%s" (index . 1) }}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "fairlead.labels" . | nindent 4 }}
rules:
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [{{ $name }}]
    verbs: [get, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "fairlead.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}

{{/* What a Canary can be commanded; each is a verb that a Role can give. */}}
{{- define "fairlead.commands" -}}
pause, resume, promote, promote-full, abort, retry, set-weight, adopt, rollback-to
{{- end -}}

{{/*
Whether the API server has a kind of admissionregistration.k8s.io/v1: true, or nothing. Where none is
asked, as by `helm template`, no kinds are known, and the version (--kube-version) decides.
Call with (list . kind "version that has it").
*/}}
{{- define "fairlead.admits" -}}
{{- $capabilities := (index . 0).Capabilities -}}
{{- if $capabilities.APIVersions.Has "apps/v1/Deployment" -}}
{{- if $capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/v1/%s" (index . 1)) }}true{{ end -}}
{{- else if semverCompare (printf ">=%s-0" (index . 2)) $capabilities.KubeVersion.Version -}}
true
{{- end -}}
{{- end -}}

{{/* Whether commands are checked when they are written: true, or nothing. */}}
{{- define "fairlead.steering.checked" -}}
{{- if .Values.steering.admission }}{{ include "fairlead.admits" (list . "ValidatingAdmissionPolicy" "1.30") }}{{ end -}}
{{- end -}}

{{/* What the policies look at. Call with the operations. */}}
{{- define "fairlead.steering.canaries" -}}
resourceRules:
  - apiGroups: [flagger.app]
    apiVersions: ["*"]
    operations: [{{ . }}]
    resources: [canaries]
{{- end -}}
