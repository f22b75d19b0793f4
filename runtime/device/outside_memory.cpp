#include "runtime/device/outside_memory.h"

#include "base/text.h"

namespace trine {
namespace {
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kProcess = 640 * kMiB, kGroup = 128 * kMiB, kEdge = 96 * kMiB;
}  // namespace

DeviceCommunicators communicators_of(const Config& config, Coordinate at) {
  DeviceCommunicators communicators;
  for (const Axis axis : kAxes) communicators.groups += config.mesh[axis] > 1 ? 1 : 0;
  const int pp = config.mesh.pp;
  const bool ring = config.vpp > 1;
  if (pp == 1) return communicators;
  const int neighbours = (at.pp > 0 || ring ? 1 : 0) + (at.pp + 1 < pp || ring ? 1 : 0);
  communicators.edges = 2 * neighbours;  // activations and gradients
  return communicators;
}

int64_t outside_plan_estimate(DeviceCommunicators communicators) {
  return kProcess + communicators.groups * kGroup + communicators.edges * kEdge;
}

void OutsideMemory::note(const Backend& backend, const std::string& what, int64_t planned_bytes) {
  const auto room = backend.room();
  if (!room) return;
  const int64_t now = room->total_bytes - room->free_bytes;
  parts_.emplace_back(what, now - in_use_ - planned_bytes);
  in_use_ = now;
}

void OutsideMemory::part(const std::string& what, int64_t bytes) {
  parts_.emplace_back(what, bytes);
  in_use_ += bytes;
}

int64_t OutsideMemory::total_bytes() const {
  int64_t total = 0;
  for (const auto& [what, bytes] : parts_) total += bytes;
  return total;
}

std::string OutsideMemory::text() const {
  if (parts_.empty()) return {};
  std::string text = format_bytes(total_bytes()) + " outside the plan:";
  for (const auto& [what, bytes] : parts_)
    text += fmt::format(" {} {}{}", what, bytes < 0 ? "-" : "", format_bytes(bytes < 0 ? -bytes : bytes)) + ",";
  text.pop_back();
  return text;
}

}  // namespace trine
