#!/usr/bin/env bash
# Train on a GKE cluster: a JobSet of TPU or GPU hosts that runs an image of launch/docker/.
#
#   ./launch/gke.sh ACTION --name NAME [options] [-- TRAIN_ARGUMENTS]
#
#   apply     start the run            logs      follow its first host
#   delete    end it                   show      print the manifest
#
#   --image IMAGE                       that the hosts run (apply, show)
#   --hosts N                           of the slice, or GPU nodes (default 1)
#   --tpu ACCELERATOR --topology AxB    of the node pool, as tpu-v5-lite-podslice and 4x4
#   --chips N                           TPU chips, or GPUs, of a host (default 4)
#   --gpu ACCELERATOR                   of the node pool, as nvidia-h100-80gb
#   --claim NAME                        a volume claim with data and work folders, at /data
#   --account NAME                      Kubernetes' service account that may use the buckets
#   --retries N                         restarts of the whole set (default 10)
#   --dry-run                           print what would be done
#
# The cluster is the one that kubectl points to, with the JobSet controller in it (XPK installs it).
# What begins with gs:// in TRAIN_ARGUMENTS is mounted by the Cloud Storage FUSE driver of GKE,
# gs://BUCKET at /mnt/gs/BUCKET.
# A host that is taken away restarts the set, and the run continues from its work folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

action=${1:-}
[ $# = 0 ] || shift
case $action in --help | "") usage "$0" && exit ;; esac
name="" image="" hosts=1 tpu="" topology="" chips=4 gpu="" claim="" account="" retries=10
take "name image hosts tpu topology chips gpu claim account retries" "$@"
set -- ${rest[@]+"${rest[@]}"}
wanted name "$name"

# Of TPU hosts GKE itself says who they are; GPU hosts are told by their index in the job.
manifest() {
    wanted image "$image"
    [ $# -gt 0 ] || fail "give the arguments of codecbwe train after --"
    local command resource selector bucket volume count=0 annotations="" mounted="" volumes=""
    command="exec codecbwe train $(quoted "${@//gs:\/\//$mounts/}")"
    for bucket in $(buckets "$@"); do
        volume=bucket-$((count++)) # a bucket's name need not be one for a volume
        annotations='          metadata: {annotations: {gke-gcsfuse/volumes: "true"}}'
        mounted+="              - {name: $volume, mountPath: $mounts/$bucket}"$'\n'
        volumes+=$(volume_of "$volume" "$bucket")$'\n'
    done
    if [ -n "$tpu" ]; then
        wanted topology "$topology"
        resource=google.com/tpu
        selector="cloud.google.com/gke-tpu-accelerator: $tpu
              cloud.google.com/gke-tpu-topology: $topology"
    else
        wanted gpu "$gpu"
        resource=nvidia.com/gpu
        selector="cloud.google.com/gke-accelerator: $gpu"
        [ "$hosts" = 1 ] || command="$command --coordinator=$name-hosts-0-0.$name:8476 \
--processes=$hosts --process=\$JOB_COMPLETION_INDEX"
    fi
    cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
spec:
  failurePolicy:
    maxRestarts: $retries
  replicatedJobs:
  - name: hosts
    replicas: 1
    template:
      spec:
        parallelism: $hosts
        completions: $hosts
        completionMode: Indexed
        backoffLimit: 0
        template:
$annotations
          spec:
${account:+            serviceAccountName: $account}
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            nodeSelector:
              $selector
            containers:
            - name: train
              image: $image
              command: [bash, -c, $(json "$command")]
              resources:
                limits:
                  $resource: $chips
              volumeMounts:
              - {name: memory, mountPath: /dev/shm}
$([ -z "$claim" ] || echo "              - {name: data, mountPath: /data}")
$mounted
            volumes:
            - {name: memory, emptyDir: {medium: Memory}}
$([ -z "$claim" ] || echo "            - {name: data, persistentVolumeClaim: {claimName: $claim}}")
$volumes
YAML
}

# volume_of VOLUME BUCKET
volume_of() {
    cat <<YAML
            - name: $1
              csi:
                driver: gcsfuse.csi.storage.gke.io
                volumeAttributes:
                  bucketName: $2
                  mountOptions: "implicit-dirs,rename-dir-limit=$rename_limit"
YAML
}

# json TEXT
# A string as JSON, which YAML takes.
json() {
    printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$/"/'
}

case $action in
    show) manifest "$@" | sed '/^$/d' ;;
    apply)
        text=$(manifest "$@" | sed '/^$/d')
        does kubectl apply --filename - <<<"$text"
        [ -z "$dry_run" ] || printf '%s\n' "$text"
        ;;
    logs) does kubectl logs --follow "job/$name-hosts-0" ;;
    delete) does kubectl delete jobset "$name" ;;
    *) fail "unknown action $action; see --help" ;;
esac
