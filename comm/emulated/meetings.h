// Where the ranks of a plan meet on their host (meeting_board.h): each group of an axis has a channel, named by its
// first rank, and so has each directed edge of the pipeline, by its sender.
#pragma once

#include <functional>
#include <vector>

#include "base/trace_event.h"
#include "comm/device_group.h"
#include "comm/emulated/meeting_board.h"
#include "comm/world.h"

namespace trine {

class Meetings {
 public:
  struct Place {
    int channel = 0;
    std::vector<int> ranks;
  };

  // Collective. ConfigError if the ranks are on several hosts.
  explicit Meetings(CommWorld& world);

  // Of this lane's collectives, and of a state that a pipeline rank sends to another.
  Place place_of(Lane lane) const;
  Place place_of_state(int peer, bool sends) const { return between(kState, peer, sends); }
  Place place_of(PipelineEdge edge, bool sends) const;
  int num_channels() const;

  // MeetingBoard::meet().
  int64_t last_ready_ns(const Place& place, int64_t ready_ns, const std::function<void()>& check) {
    return board_.meet(place.channel, place.ranks, ready_ns, check);
  }

 private:
  enum Kind { kTp, kDp, kPp, kActivation, kGradient, kState, kNumKinds };

  Place between(Kind kind, int peer, bool sends) const;
  int channel(Kind kind, int rank) const { return static_cast<int>(kind) * mesh_.num_ranks() + rank; }

  const Mesh mesh_;
  const Coordinate coordinate_;
  MeetingBoard board_;
};

}  // namespace trine
