// Links that transfers share, and how fast each transfer is while they do:
// what communication may know of a cluster.
//
// A resource is anything with a rate: a PCIe link in one direction, a root complex, a NIC. A flow moves bytes over
// some of them; its weight on a resource says how often each of its bytes crosses that (2 for host memory without
// peer access: written and read). Flows run in max-min fair shares: no flow can be faster without making one slower
// that is not faster than it (progressive filling: Bertsekas and Gallager, Data Networks, 2nd ed., section 6.5.2).
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace trine {

struct LinkUse {
  int resource = 0;  // of a LinkModel
  double weight = 1;
  bool operator==(const LinkUse&) const = default;
};

class LinkModel {
 public:
  // Its number: they count from 0. REQUIRES: bytes_per_s > 0.
  int add(std::string name, double bytes_per_s);
  int num_resources() const { return static_cast<int>(resources_.size()); }
  const std::string& name(int resource) const { return resources_.at(static_cast<size_t>(resource)).name; }
  double bytes_per_s(int resource) const { return resources_.at(static_cast<size_t>(resource)).bytes_per_s; }
  // The rate of a flow that is alone: infinite if it uses nothing. REQUIRES: each resource stands once in `uses`.
  double rate_alone(std::span<const LinkUse> uses) const;

 private:
  struct Resource {
    std::string name;
    double bytes_per_s = 0;
  };
  std::vector<Resource> resources_;
};

// Bytes per second of each flow, by its uses.
std::vector<double> fair_rates(const LinkModel& links, std::span<const std::span<const LinkUse>> flows);

// Flows as time goes on: shares are found anew whenever one begins or ends, among those that it meets on a link,
// directly or over others. Times are seconds of any clock.
class ActiveFlows {
 public:
  explicit ActiveFlows(const LinkModel& links) : links_(&links) {}

  using Id = int64_t;
  // Never faster than `most_bytes_per_s`. REQUIRES: `at` is not before the last begin() or end_next(), nor behind
  // next_end(); each resource stands once in `uses`, which stay where they are until the flow has ended.
  Id begin(double at, double bytes, std::span<const LinkUse> uses, double most_bytes_per_s = kNoLimit);

  struct End {
    double at = 0;
    Id flow = 0;
  };
  // The first to end if none begins before it; of several the one that began first. Nullopt: there is none.
  std::optional<End> next_end() const;
  // That one is gone.
  End end_next();
  size_t size() const { return active_.size(); }

 private:
  static constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  struct Flow {
    Id id = 0;
    double since = 0, left = 0;  // bytes, at that time
    double rate = -1, end = 0;
    double most = kNoLimit;
    std::span<const LinkUse> uses;
    bool met = false;  // by what begins or ends
  };
  // A resource that is shared by those that meet.
  struct Room {
    int resource = 0;
    double left = 0, growing = 0;  // bytes/s, and the sum of the weights of flows that still grow
    bool full = false;
  };
  size_t first_to_end() const;
  void meet(std::span<const LinkUse> uses);
  void find_rates();
  void share(double at);

  const LinkModel* links_;
  Id last_ = 0;
  std::vector<Flow> flows_;  // those of `free_` stand for none
  std::vector<size_t> active_, free_;
  std::vector<std::vector<size_t>> users_;  // active flows, by resource
  // Kept between calls, empty between them.
  std::vector<size_t> met_, fixed_;
  std::vector<Room> rooms_;
  std::vector<int> room_of_;  // by resource; -1: none
  std::vector<double> rates_;
};

}  // namespace trine
