// Pieces of a rank's program that do the same each time: kernels and collectives of its own, from one message to the
// next. From the same state they take the same time; so they are walked once (simulate() with Detail::kAction).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "plan/step_program.h"
#include "trace/accounting.h"

namespace trine {

// The commands from the first on that concern no other pipeline rank, and no collective that may go on behind the last of
// them: those of dp, and those of tp that are not waited for.
std::span<const Command> own_piece(std::span<const Command> commands);
// Of what it does; the microbatch does not count.
uint64_t hash_of(std::span<const Command> piece);

// What a piece did that began and ended with idle lanes. Seconds.
struct RepeatedPiece {
  double seconds = 0;                       // of the compute lane
  double host_before_s = 0;                 // when the launching thread was as far as that, after the compute lane
  double host_slack_s = 0;                  // by how much it was ahead at least; negative: it was waited for
  double host_s = 0;                        // that it took
  double clock_behind_s = 0;                // at the end: since when the compute lane has had no event
  EventKind first_kind = EventKind::kIdle;  // of its first event
  bool reaches_back = false;                // its first event began where the last before it had ended
  StepBreakdown time = {};
  std::array<int32_t, kLanes.size()> wire_events{};  // by lane
};

class RepeatedPieces {
 public:
  // One that does the same where the launching thread is so far after the compute lane; nullptr: none is known.
  const RepeatedPiece* find(uint64_t hash, double host_after_s) const;
  void add(uint64_t hash, const RepeatedPiece& piece);

 private:
  std::map<uint64_t, std::vector<RepeatedPiece>> pieces_;
};

// Of a piece that begins at `begin_ns`: an event for each kind of its time, such that account() finds the same. The
// first reaches back to `since_ns`, as its kernel's would.
void append_events(const RepeatedPiece& piece, int64_t since_ns, int64_t begin_ns, int64_t end_ns, int action,
                   std::vector<TraceEvent>& events);

}  // namespace trine
