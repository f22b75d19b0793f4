// Links that several transfers of a step may use at once, and how long these take on them: event by event.
//
// What alone uses its links takes the same whenever it begins, and is not followed here. Of links that the same transfers
// use alike only the tightest counts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <queue>
#include <vector>

#include "analysis/simulated_costs.h"
#include "base/link_model.h"
#include "plan/plan.h"

namespace trine {

class SharedLinks {
 public:
  // Of all that the plan's pipeline ranks do; `dilation`: links so many times slower.
  SharedLinks(const Plan& plan, SimulatedCosts& costs, double dilation);

  // Never meets another one on a link.
  bool is_alone(const SharedTransfer& transfer) const { return !shared_.contains(&transfer); }
  // Collectives of tp, while the dp lane of this pipeline rank does nothing.
  bool tp_is_alone(int pp) const { return !tp_meets_others_[static_cast<size_t>(pp)]; }

  // REQUIRES: not is_alone(); `at` is not before what advance() did last. `ended` gets the time of its end, from
  // within advance(), at once or before that time.
  void begin(double at, const SharedTransfer& transfer, std::function<void(double end)> ended);
  // Goes on to the next begin or end of a transfer. False: nothing is under way.
  bool advance();

 private:
  // What is alike for the question of who meets whom: collectives of a lane of a pipeline rank, or messages of an edge.
  struct Kind {
    Lane lane = Lane::kTp;
    int pp = 0, to = -1;
    auto operator<=>(const Kind&) const = default;
  };
  void find_shared(const std::map<const SharedTransfer*, Kind>& transfers, const LinkModel& links);

  struct Begin {
    double at = 0;
    int64_t number = 0;  // those of equal time keep their order
    const SharedTransfer* transfer = nullptr;
    std::function<void(double)> ended;
    bool operator<(const Begin& other) const {  // the first is the greatest
      return at != other.at ? at > other.at : number > other.number;
    }
  };
  struct UnderWay {
    double latency_s = 0;
    std::function<void(double)> ended;
  };

  const double dilation_;
  std::map<const SharedTransfer*, std::vector<LinkUse>> shared_;  // and the links that others use too
  std::vector<bool> tp_meets_others_;
  ActiveFlows flows_;
  std::priority_queue<Begin> begins_;
  int64_t num_begins_ = 0;
  std::map<ActiveFlows::Id, UnderWay> under_way_;
};

}  // namespace trine
