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

// What an edge of the pipeline carries; each moves behind the one of its kind before it.
enum EdgeKind { kActivation, kGradient, kState };

class SharedLinks {
 public:
  // Of all that the plan's pipeline ranks do; `dilation`: links so many times slower.
  SharedLinks(const Plan& plan, SimulatedCosts& costs, double dilation);
  SharedLinks(const SharedLinks&) = delete;
  SharedLinks& operator=(const SharedLinks&) = delete;

  // A transfer that may meet others, and the links on which it may.
  struct Met {
    double latency_s = 0, bytes = 0, alone_bytes_per_s = 0;  // of dilated links
    std::vector<LinkUse> uses;
  };
  // nullptr: it never meets another one.
  const Met* find(const SharedTransfer& transfer) const {
    const auto found = met_.find(&transfer);
    return found == met_.end() ? nullptr : &found->second;
  }
  // Collectives of tp meet none, while the dp lane of this pipeline rank does nothing.
  bool tp_is_alone(int pp) const { return !tp_meets_others_[static_cast<size_t>(pp)]; }

  // REQUIRES: `at` is not before what advance() did last. `ended` gets the time of its end, from within advance(), at
  // once or before that time.
  using Ended = std::function<void(double end)>;
  void begin(double at, const Met& transfer, Ended ended);
  // Goes on to the next begin or end of a transfer. False: nothing is under way.
  bool advance();

 private:
  // What is alike for the question of who meets whom: collectives of a lane of a pipeline rank, or messages
  // of an edge. Those of a kind run one after another.
  struct Kind {
    Lane lane = Lane::kTp;
    int pp = 0, to = -1;
    EdgeKind carries = kActivation;
    bool several = false;  // the same transfer carries other things of its edge, too
    auto operator<=>(const Kind&) const = default;
  };
  void find_met(const std::map<const SharedTransfer*, Kind>& transfers, const LinkModel& links);

  struct Begin {
    double at = 0;
    int64_t number = 0;                         // those of equal time keep their order
    size_t place = 0;                           // in under_way_
    bool operator<(const Begin& other) const {  // the first is the greatest
      return at != other.at ? at > other.at : number > other.number;
    }
  };
  struct UnderWay {
    const Met* transfer = nullptr;
    Ended ended;
    ActiveFlows::Id flow = 0;  // 0: it has not begun
  };

  const double dilation_;
  std::map<const SharedTransfer*, Met> met_;
  std::vector<bool> tp_meets_others_;
  ActiveFlows flows_;
  std::priority_queue<Begin> begins_;
  int64_t num_begins_ = 0;
  std::vector<UnderWay> under_way_;  // those of `free_` stand for none
  std::vector<size_t> free_;
};

}  // namespace trine
