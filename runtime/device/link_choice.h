// How the devices of a job talk: what is possible, from facts of all ranks, and what is faster,
// from times that were measured.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/mesh.h"
#include "plan/config/config.h"

namespace trine {

// What one GPU found of the link to another.
struct PeerLink {
  int from = 0, to = 0;  // in the list that was asked for
  bool tested = false;   // false: this process does not see both
  bool access = false;   // each reads the other's memory by itself
  bool data_right = false;
  double bytes_per_s = 0, latency_s = 0;  // of copies of 64 MiB and 4 bytes
};

// How collectives and pipeline messages travel, and why.
struct LinkChoice {
  bool nccl = false;         // else staged through the host by MPI or threads
  bool peer_to_peer = true;  // false: NCCL may not let GPUs reach into each other's memory, only through the host's
  std::string reason;
};
// What the wish and the machine allow. `identities`: by rank; `links`: of all hosts; peer to peer is allowed unless
// one of them shows that it does not work. ConfigError if the wish can not be.
LinkChoice choose_links(CommKind wish, const std::vector<std::string>& identities, const std::string& nccl_version,
                        const std::vector<PeerLink>& links);

// One kind of communication that a step does, as large as the largest of its kind.
struct RunMessage {
  enum class Op { kAllReduce, kReduceScatter, kAllGather, kSend };
  Axis axis = Axis::kTp;
  Op op = Op::kAllReduce;
  int64_t bytes = 0;         // of the whole, before or after it is split
  double per_step = 0;       // executions of this size that are as much as the step's
  std::string text() const;  // "tp all-gather of 16.0 MiB"
};

struct MessageTime {
  double seconds = 0;
  bool data_right = true;
};
// Of one message, the same answer on all ranks.
using MessageTimer = std::function<MessageTime(const RunMessage&)>;

// The way on which all that a step sends takes less time; never one on which data came out wrong. `possible`: of
// choose_links(), with NCCL.
LinkChoice choose_faster(const LinkChoice& possible, const std::vector<RunMessage>& messages,
                         const MessageTimer& nccl, const MessageTimer& staged);

}  // namespace trine
