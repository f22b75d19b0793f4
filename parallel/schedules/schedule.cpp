#include "parallel/schedules/schedule.h"

#include "base/error.h"

namespace trine {

std::vector<Schedule> make_schedules(PipelineKind kind, int pp, int vpp, int microbatches) {
  TRINE_CHECK(pp >= 1 && vpp >= 1 && microbatches >= 1, "pp {}, vpp {}, {} microbatches", pp, vpp, microbatches);
  TRINE_CHECK(vpp == 1 || kind == PipelineKind::kInterleaved, "only interleaved has several chunks, vpp = {}", vpp);
  const auto of_rank = [&](int rank) {
    switch (kind) {
      case PipelineKind::kGpipe:
        return gpipe(rank, microbatches);
      case PipelineKind::k1F1B:
        return one_forward_one_backward(rank, pp, microbatches);
      case PipelineKind::kInterleaved:
        return interleaved_one_forward_one_backward(rank, pp, vpp, microbatches);
      case PipelineKind::kZeroBubble:
        return zero_bubble_h1(rank, pp, microbatches);
    }
    TRINE_CHECK(false, "unknown kind of pipeline");
  };
  std::vector<Schedule> schedules;
  for (int rank = 0; rank < pp; ++rank) schedules.push_back(of_rank(rank));
  return schedules;
}

IdealBubble ideal_bubble(PipelineKind kind, int pp, int vpp, int64_t microbatches) {
  const auto share = [&](int parts) {  // of the time of one forward and backward, that a rank can idle in
    return (pp - 1) / static_cast<double>(parts * microbatches + pp - 1);
  };
  if (kind == PipelineKind::kInterleaved) return {share(vpp), "(p-1)/(v m+p-1)"};
  if (kind == PipelineKind::kZeroBubble) return {share(3), "(p-1)/(3 m+p-1)"};
  return {share(1), "(p-1)/(m+p-1)"};
}

}  // namespace trine
