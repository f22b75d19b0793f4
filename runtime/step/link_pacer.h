// Real collectives and messages of CPU ranks, as slow as links of a cluster would make them: each takes place at full
// speed, and then all its ranks wait until the modelled links would have carried it (comm/emulated/flow_table.h). Bits
// stay what they are. Only what a step does on its lanes is paced.
#pragma once

#include <memory>

#include "base/emulated_links.h"
#include "comm/emulated/carrier.h"
#include "comm/world.h"
#include "kernels/kernel.h"
#include "runtime/step/pipeline_edges.h"

namespace trine {

class LinkPacer {
 public:
  // Collective; ConfigError if the ranks are on several hosts. From now on a wait of `world`'s groups counts its
  // time-out from when a transfer was last under way: links that are slow are no hang.
  LinkPacer(CommWorld& world, EmulatedLinks links);
  ~LinkPacer();
  LinkPacer(const LinkPacer&) = delete;
  LinkPacer& operator=(const LinkPacer&) = delete;

  Kernel paced(Kernel kernel, const KernelRequest& request);
  std::unique_ptr<PipelineEdges> paced(std::unique_ptr<PipelineEdges> edges);

  // A transfer of that place has taken place, for which this rank was ready at `ready_ns`: returns when the links
  // would have ended it, and that time. HangError, PeerLostError.
  int64_t carry(const Meetings::Place& place, const EmulatedTransfer& transfer, int64_t ready_ns);
  const Meetings& meetings() const { return carrier_.meetings(); }
  const EmulatedLinks& links() const { return links_; }

 private:
  CommWorld& world_;
  const EmulatedLinks links_;
  const std::chrono::milliseconds timeout_;
  Carrier carrier_;
};

}  // namespace trine
