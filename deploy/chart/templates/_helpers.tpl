{{/* What the objects of a release are called. */}}
{{- define "tracer.name" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- ternary $release (printf "%s-%s" $release .Chart.Name) (contains .Chart.Name $release) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What its rights outside its own namespace are called, where another release may have some too. */}}
{{- define "tracer.readerName" -}}
{{- printf "%s:%s" (include "tracer.name" .) .Release.Namespace -}}
{{- end -}}

{{- define "tracer.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The labels of the controller's Pods, and of no other ones. */}}
{{- define "tracer.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "tracer.image" -}}
{{- with .Values.image -}}
{{- .repository -}}{{- if .digest -}}@{{ .digest }}{{- else -}}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tracer.port" -}}
{{- regexFind "[0-9]+$" .Values.config.listen | atoi -}}
{{- end -}}

{{/* Refuses where the program cannot listen, and where it would listen to itself alone. */}}
{{- define "tracer.listens" -}}
{{- $port := include "tracer.port" . | atoi -}}
{{- with .Values.config -}}
{{- if or (lt $port 1) (gt $port 65535) -}}
{{- fail (printf "config.listen is %s: give a port from 1 to 65535, such as :8080." .listen) -}}
{{- end -}}
{{- if regexMatch "^(127\\.[0-9.]*|localhost|\\[?::1\\]?):[0-9]+$" .listen -}}
{{- fail (printf "config.listen is %s, where no probe reaches the Pod: give a port alone, such as :8080." .listen) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The program's own file. */}}
{{- define "tracer.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- with .Values.secrets -}}
{{- $files := dict
      "headers_file" (ternary "headers" "" (ne .headers.name ""))
      "ca_file" (ternary "ca.pem" "" (ne .ca.name ""))
      "cert_file" (ternary "client.pem" "" (ne .client.name ""))
      "key_file" (ternary "client.key" "" (ne .client.name "")) -}}
{{- range $key, $file := $files -}}
{{- if and $file (get $config.otlp $key) -}}
{{- fail (printf "config.otlp.%s is %s, and a Secret under `secrets` is to be that file as well: give one of them." $key (get $config.otlp $key)) -}}
{{- end -}}
{{- if $file -}}
{{- $_ := set $config.otlp $key (printf "/etc/tracer/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $config.otlp.key_file (not $config.otlp.cert_file) -}}
{{- fail (printf "config.otlp.key_file is %s, a key without a certificate: give config.otlp.cert_file too." $config.otlp.key_file) -}}
{{- end -}}
{{- include "tracer.listens" . -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What a Pod of ours is, whatever it runs. */}}
{{- define "tracer.pod" -}}
serviceAccountName: {{ include "tracer.name" . }}
automountServiceAccountToken: false # the API server lets that token live for a year; ours is the volume `account`
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with .Values.runAsUser }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  - name: account # readable without fsGroup: the kubelet makes runAsUser the owner of the token, or lets everybody read it
    projected:
      sources:
        - serviceAccountToken:
            path: token
            expirationSeconds: 3600 # not 3607, which the API server takes for a year
        - configMap:
            name: kube-root-ca.crt
            items:
              - key: ca.crt
                path: ca.crt
        - downwardAPI:
            items:
              - path: namespace
                fieldRef:
                  fieldPath: metadata.namespace
  - name: config
    projected:
      sources:
        - configMap:
            name: {{ include "tracer.name" . }}-config
        {{- with .Values.secrets.headers }}
        {{- if .name }}
        - secret:
            name: {{ .name }}
            items:
              - key: {{ .key }}
                path: headers
        {{- end }}
        {{- end }}
        {{- with .Values.secrets.ca }}
        {{- if .name }}
        - secret:
            name: {{ .name }}
            items:
              - key: {{ .key }}
                path: ca.pem
        {{- end }}
        {{- end }}
        {{- with .Values.secrets.client }}
        {{- if .name }}
        - secret:
            name: {{ .name }}
            items:
              - key: tls.crt
                path: client.pem
              - key: tls.key
                path: client.key
        {{- end }}
        {{- end }}
{{- end -}}

{{/* What its container is, but for what it runs and how it is probed. */}}
{{- define "tracer.container" -}}
image: {{ include "tracer.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.proxy }}
{{- if .url }}
{{- if contains "@" .url }}
{{- fail "proxy.url has a user or a password, which all who may read Pods would see: give an address such as http://proxy:3128." }}
{{- end }}
env:
  - name: HTTP_PROXY
    value: {{ .url | quote }}
  - name: HTTPS_PROXY
    value: {{ .url | quote }}
  - name: NO_PROXY
    value: {{ .noProxy | quote }}
{{- end }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  readOnlyRootFilesystem: true
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /etc/tracer
    readOnly: true
  - name: account
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
  - name: tmp
    mountPath: /tmp
{{- end -}}
