// Links of a cluster that is not here, as a run on CPUs takes them (--emulate-links): which transfer uses what, and how
// much of it there is. All ranks have the same links.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/link_model.h"

namespace trine {

struct EmulatedTransfer {
  double latency_s = 0, bytes = 0;
  std::vector<LinkUse> uses;
};

struct EmulatedLinks {
  std::string cluster;
  double dilation =
      1;  // by which links are slower, and latencies longer, than the cluster's: already in the numbers
  LinkModel links;
  // Of this rank: a collective, or a state that is sent, by its node; and a message to or from pipeline rank `peer`.
  std::function<EmulatedTransfer(int node)> collective;
  std::function<EmulatedTransfer(int peer, bool sends, int64_t bytes)> message;
};

}  // namespace trine
