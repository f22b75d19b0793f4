#include "comm/emulated/meetings.h"

#include "comm/emulated/flow_table.h"

namespace trine {

Meetings::Meetings(CommWorld& world)
    : mesh_(world.mesh()),
      coordinate_(world.coordinate()),
      board_(share_memory(world[Group::kWorld], MeetingBoard::num_bytes(num_channels(), mesh_.num_ranks())),
             num_channels(), mesh_.rank(coordinate_)) {}

int Meetings::num_channels() const { return kNumKinds * mesh_.num_ranks(); }

Meetings::Place Meetings::place_of(Lane lane) const {
  Coordinate at = coordinate_;
  int& along = lane == Lane::kTp ? at.tp : lane == Lane::kDp ? at.dp : at.pp;
  const int size = lane == Lane::kTp ? mesh_.tp : lane == Lane::kDp ? mesh_.dp : mesh_.pp;
  Place place;
  for (along = 0; along < size; ++along) place.ranks.push_back(mesh_.rank(at));
  place.channel = channel(lane == Lane::kTp ? kTp : lane == Lane::kDp ? kDp : kPp, place.ranks[0]);
  return place;
}

Meetings::Place Meetings::place_of(PipelineEdge edge, bool sends) const {
  return between(edge.backward ? kGradient : kActivation, edge.peer, sends);
}

Meetings::Place Meetings::between(Kind kind, int peer, bool sends) const {
  Coordinate other = coordinate_;
  other.pp = peer;
  const int own = mesh_.rank(coordinate_), peers = mesh_.rank(other);
  return {channel(kind, sends ? own : peers), {own, peers}};
}

}  // namespace trine
