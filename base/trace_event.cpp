#include "base/trace_event.h"

namespace trine {

std::string_view name(Lane lane) {
  constexpr std::array<std::string_view, 6> names = {"compute", "tp", "pp", "dp", "copy", "host"};
  return names.at(static_cast<size_t>(lane));
}

std::string_view name(EventKind kind) {
  constexpr std::array<std::string_view, kNumEventKinds> names = {"compute", "recompute", "comm_tp",    "comm_pp",
                                                                  "comm_dp", "wait",      "bubble",     "optimizer",
                                                                  "data",    "host",      "checkpoint", "idle"};
  return names.at(static_cast<size_t>(kind));
}

}  // namespace trine
