#include "analysis/what_if.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <map>

#include "analysis/prediction.h"
#include "base/error.h"
#include "plan/config/layouts.h"

namespace trine {
namespace {

constexpr double kLargeCard_gib = 80;

// Devices that others sell in as many hosts: the next of a gamer's, and two of a data centre's.
constexpr const char* kOffers[] = {"rtx5090", "a100-80-sxm", "h100-sxm"};
constexpr double kManyNics = 8, kFastNic_gb_per_s = 25;

using PriceOf = std::function<Price(const Profile& before, int devices)>;

struct ProfileChange {
  std::string id, words;
  std::function<bool(const Profile&, const Config&)> applies;
  std::function<void(Profile&)> make;
  ChangeKind kind = ChangeKind::kBound;
  PriceOf price = [](const Profile&, int) { return not_for_sale("nobody sells it"); };
};

constexpr const char *kInside = "inside a host", *kBetween = "between hosts";

bool one_host(const Profile& profile, const Config& config) {
  return config.mesh.num_ranks() <= static_cast<int>(profile.host.devices);
}

void scale_links(Profile& profile, double by) {
  profile.device.link_gb_per_s *= by;
  for (double* rate : {&profile.host.switch_gb_per_s, &profile.host.memory_gb_per_s, &profile.host.socket_gb_per_s,
                       &profile.host.nvlink_gb_per_s})
    *rate *= by;
}

void scale_network(Profile& profile, double by) { profile.network.nic_gb_per_s *= by; }

double network_of(const Profile& profile) { return profile.network.nics * profile.network.nic_gb_per_s; }

bool is_slow(const NetworkProfile& network) { return network.nic_gb_per_s < kFastNic_gb_per_s; }

void give_many_nics(Profile& profile) {
  profile.network.nics = kManyNics, profile.network.nic_gb_per_s = kFastNic_gb_per_s;
}

std::string no_large_card(const Profile& profile) {
  return fmt::format("nobody sells {} with {:.0f} GiB", profile.device.name, kLargeCard_gib);
}
std::string no_nvlink(const Profile& profile) {
  return fmt::format("nobody sells {} with NVLink for a whole host", profile.device.name);
}

Price price_of_peer_access(const Profile&, int) {
  return free_of_charge("tinygrad's change of NVIDIA's open driver (2024), which NVIDIA does not support");
}

// As the same RTX 4090s were measured without and with peer access.
void give_peer_access(Profile& profile) {
  const Profile before = load_profile("rtx4090"), after = load_profile("rtx4090-p2p");
  profile.host.peer_access = 1;
  profile.device.link_gb_per_s *= after.device.link_gb_per_s / before.device.link_gb_per_s;
  profile.host.socket_gb_per_s *= after.host.socket_gb_per_s / before.host.socket_gb_per_s;
  profile.collective.low_share *= after.collective.low_share / before.collective.low_share;
}

// Cards that NVIDIA made for bridges between two of them, GB/s a direction: white paper of the GA102, product briefs of
// the A100 and H100 PCIe. An RTX 4090, 5090 or L40S has none.
double bridge_gb_per_s(const Profile& profile) {
  constexpr std::pair<std::string_view, double> kCards[] = {
      {"RTX 3090", 56.25}, {"A100 PCIe", 300}, {"H100 PCIe", 300}};
  for (const auto& [name, gb_per_s] : kCards)
    if (profile.device.name == name) return gb_per_s;
  return 0;
}
bool lacks_bridges(const Profile& profile) {
  return bridge_gb_per_s(profile) > 0 && profile.host.nvlink_devices < 2 && profile.host.devices >= 2;
}
void give_bridges(Profile& profile) {
  profile.host.nvlink_gb_per_s = bridge_gb_per_s(profile), profile.host.nvlink_devices = 2;
}
constexpr const char* kBridges = "NVLink bridges between pairs of cards";
Price price_of_bridges() { return not_for_sale("they are sold for this card; what they cost is not known"); }

void give_nvlink(Profile& profile) {
  const Profile a100 = load_profile("a100-80-sxm");
  profile.host.nvlink_gb_per_s = a100.host.nvlink_gb_per_s, profile.host.nvlink_devices = profile.host.devices;
  profile.host.peer_access = 1;
  const double network = profile.collective.network_efficiency;
  profile.collective = a100.collective;
  profile.collective.network_efficiency = network;
}

std::vector<ProfileChange> device_changes() {
  const auto several = [](const Profile&, const Config& c) { return c.mesh.num_ranks() > 1; };
  const auto several_hosts = [](const Profile& p, const Config& c) { return !one_host(p, c); };
  const auto always = [](const Profile&, const Config&) { return true; };
  return {
      {"links_x2", "links inside a host twice as fast", several, [](Profile& p) { scale_links(p, 2); }},
      {"network_x2", "network between hosts twice as fast",
       [](const Profile& p, const Config& c) {
         return !one_host(p, c) && !only_much_faster_nics(2 * p.network.nic_gb_per_s);
       },
       [](Profile& p) { scale_network(p, 2); }, ChangeKind::kCluster,
       [](const Profile& p, int devices) {
         return price_of_nics(p, devices, p.network.nics, 2 * p.network.nic_gb_per_s);
       }},
      {"network_x2", "network between hosts twice as fast",
       [](const Profile& p, const Config& c) {
         return !one_host(p, c) && only_much_faster_nics(2 * p.network.nic_gb_per_s);
       },
       [](Profile& p) { scale_network(p, 2); }, ChangeKind::kBound,
       [](const Profile&, int) {
         return not_for_sale("of NICs at that rate no price is known; faster ones are listed");
       }},
      {"network_200g", "NICs of 200 Gb/s",
       [](const Profile& p, const Config& c) {
         return !one_host(p, c) && is_slow(p.network) && 2 * p.network.nic_gb_per_s != kFastNic_gb_per_s;
       },
       [](Profile& p) { p.network.nic_gb_per_s = kFastNic_gb_per_s; }, ChangeKind::kCluster,
       [](const Profile& p, int devices) { return price_of_nics(p, devices, p.network.nics, kFastNic_gb_per_s); }},
      {"network_8x200g", "eight NICs of 200 Gb/s a host",
       [&](const Profile& p, const Config& c) {
         return !one_host(p, c) && p.host.devices >= kManyNics && network_of(p) < kManyNics * kFastNic_gb_per_s;
       },
       give_many_nics, ChangeKind::kCluster,
       [](const Profile& p, int devices) { return price_of_nics(p, devices, kManyNics, kFastNic_gb_per_s); }},
      {"all_links_x2", "links and network twice as fast", several_hosts,
       [](Profile& p) { scale_links(p, 2), scale_network(p, 2); }},
      {"links_free", "links and network without limit: no links at all can gain more", several,
       [](Profile& p) { scale_links(p, 1000), scale_network(p, 1000), p.host.peer_access = 1; }},
      {"p2p", "peer access (P2P): a driver that lets cards read each other's memory",
       [](const Profile& p, const Config& c) {
         return c.mesh.num_ranks() > 1 && p.host.peer_access == 0 && p.host.nvlink_devices < 2;
       },
       give_peer_access, ChangeKind::kCluster, price_of_peer_access},
      {"nvlink_bridges", kBridges,
       [](const Profile& p, const Config& c) { return c.mesh.num_ranks() > 1 && lacks_bridges(p); }, give_bridges,
       ChangeKind::kCluster, [](const Profile&, int) { return price_of_bridges(); }},
      {"links_a100", "NVLink as in an A100 SXM host",
       [](const Profile& p, const Config& c) {
         return c.mesh.num_ranks() > 1 && p.host.nvlink_devices < p.host.devices;
       },
       give_nvlink, ChangeKind::kBound, [](const Profile& p, int) { return not_for_sale(no_nvlink(p)); }},
      {"f16_accumulation", "products that add in f16 (no use in training: gradients lose their small parts)",
       [](const Profile& p, const Config&) { return p.device.f16_accumulate_tflops > p.device.bf16_tflops; },
       [](Profile& p) { p.device.bf16_tflops = p.device.fp16_tflops = p.device.f16_accumulate_tflops; }},
      {"peak_x2", "arithmetic twice as fast", always,
       [](Profile& p) {
         for (double* peak : {&p.device.bf16_tflops, &p.device.fp16_tflops, &p.device.f32_tflops}) *peak *= 2;
       }},
      {"memory_x2", "device memory twice as fast", always, [](Profile& p) { p.device.memory_gb_per_s *= 2; }},
      {"host_x2", "a host that launches twice as fast", always, [](Profile& p) { p.device.host_us /= 2; }},
  };
}

std::string words_of_offer(const Profile& other) {
  return fmt::format("{} in their hosts instead ({})", other.device.name, other.name);
}

// Of those that are not these devices.
std::vector<Profile> offers_beside(const Profile& profile) {
  std::vector<Profile> list;
  for (const char* name : kOffers)
    if (Profile other = load_profile(name); other.device.name != profile.device.name)
      list.push_back(std::move(other));
  return list;
}

std::vector<ProfileChange> core_changes() {
  const auto several = [](const Profile&, const Config& c) { return c.mesh.num_ranks() > 1; };
  const auto always = [](const Profile&, const Config&) { return true; };
  return {
      {"peak_x2", "cores that compute twice as fast", always,
       [](Profile& p) {
         for (CpuOpCost& op : p.cpu.ops)
           if (!op.by_bytes) {
             op.giga_per_s *= 2;
             for (CpuOpCost::Shape& shape : op.shapes) shape.us /= 2;
           }
       }},
      {"memory_x2", "memory twice as fast", always,
       [](Profile& p) {
         p.cpu.stream_gb_per_s *= 2, p.cpu.stream_all_gb_per_s *= 2;
         for (CpuOpCost& op : p.cpu.ops)
           if (op.by_bytes) {
             op.giga_per_s *= 2;
             for (CpuOpCost::Shape& shape : op.shapes) shape.us /= 2;
           }
       }},
      {"all_links_x2", "exchanges between ranks twice as fast", several,
       [](Profile& p) {
         for (CpuTransferCost& transfer : p.cpu.transfers)
           for (CpuTransferCost::Point& point : transfer.points) point.us /= 2;
       }},
      {"host_x2", "threads that wake and post twice as fast", always,
       [](Profile& p) { p.cpu.wake_us /= 2, p.cpu.post_us /= 2, p.cpu.step_us /= 2; }},
  };
}

class Changes {
 public:
  // `known`: steps that were simulated already, by change.
  Changes(const Plan& plan, const Profile& profile, double step_s, std::map<std::string, double> known)
      : plan_(plan),
        profile_(profile),
        step_s_(step_s),
        known_(std::move(known)),
        options_{.slow = slow_ranks_of(plan.config),
                 .detail = plan.config.detail.value_or(Detail::kAction),
                 .step_only = true} {}

  void of_profile() {
    for (const ProfileChange& change : profile_.is_cpu() ? core_changes() : device_changes()) {
      if (!change.applies(profile_, plan_.config)) continue;
      Profile changed = profile_;
      change.make(changed);
      const auto known = known_.find(change.id);
      const double step_s = known != known_.end() ? known->second : simulate(plan_, changed, options_).step_s;
      add(change.id, change.words, step_s, change.kind, change.price(profile_, devices()), changed);
    }
  }

  // The same layout on devices that can be bought instead, where it fits.
  void other_devices() {
    if (profile_.is_cpu()) return;
    for (const Profile& other : offers_beside(profile_))
      if (fits(plan_, other))
        add("cluster_" + other.name, words_of_offer(other), simulate(plan_, other, options_).step_s,
            ChangeKind::kCluster, price_of_cluster(profile_, other, devices()), other);
  }

  // Less recomputation, from none on: the first that fits the card, and one of 80 GiB where that does less.
  void recompute_less() {
    const Config& config = plan_.config;
    if (config.recompute.kind == Recompute::Kind::kNone) return;
    Profile large = profile_;
    large.device.memory_gib = std::max(large.device.memory_gib, kLargeCard_gib);
    bool on_large = false;
    for (const Recompute::Kind kind : {Recompute::Kind::kNone, Recompute::Kind::kSelective}) {
      if (kind == config.recompute.kind) return;
      Config other = config;
      other.recompute = {.kind = kind};
      const bool only_here = on_large || profile_.is_cpu();
      const std::optional<Plan> plan = build_plan_to_compare(
          other, [&](int64_t bytes) { return fits(bytes, other, only_here ? profile_ : large); });
      if (!plan) continue;
      const bool here = fits(*plan, profile_);
      on_large |= !here;
      const bool none = kind == Recompute::Kind::kNone;
      const std::string how = none ? "--recompute none" : "--recompute selective";
      add(fmt::format("recompute_{}{}", none ? "none" : "selective", here ? "" : "_80gib"),
          here ? how + ", which fits" : "80 GiB of memory, and then " + how,
          simulate(*plan, profile_, options_).step_s, here ? ChangeKind::kSetting : ChangeKind::kBound,
          here ? free_of_charge("a setting") : not_for_sale(no_large_card(profile_)), profile_);
      if (here) return;
    }
  }

  void other_schedules() {
    const Config& config = plan_.config;
    if (config.mesh.pp < 2) return;
    const auto one = [&](ScheduleKind kind, int vpp, const char* id, const std::string& words) {
      Config other = config;
      other.schedule = kind, other.vpp = vpp;
      if (kind != config.schedule || vpp != config.vpp) of_setting(other, id, words, 1);
    };
    one(ScheduleKind::k1F1B, 1, "schedule_1f1b", "--schedule 1f1b");
    one(ScheduleKind::kZeroBubble, 1, "schedule_zero_bubble", "--schedule zero-bubble");
    one(ScheduleKind::kInterleaved, 2, "schedule_interleaved_2", "--schedule interleaved --vpp 2");
    one(ScheduleKind::kInterleaved, 4, "schedule_interleaved_4", "--schedule interleaved --vpp 4");
  }

  // Stages that have something else alike, where that moves a layer.
  void other_splits() {
    const Config& config = plan_.config;
    const int num_stages = config.mesh.pp * config.vpp;
    std::vector<std::vector<Stage>> tried = {stages_of(config, num_stages)};
    for (const StageSplit split : {StageSplit::kCost, StageSplit::kLayers, StageSplit::kLayersAndEnds}) {
      Config other = config;
      other.stage_split = split;
      std::vector<Stage> stages = stages_of(other, num_stages);
      if (std::ranges::count(tried, stages) > 0) continue;
      tried.push_back(std::move(stages));
      std::string id = fmt::format("stage_split_{}", name(split));
      std::ranges::replace(id, '-', '_');
      of_setting(other, id, fmt::format("--stage-split {}", name(split)), 1);
    }
  }

  void rounded_gradients() {
    Config other = plan_.config;
    if (other.mesh.dp < 2 || other.grad_reduce == DType::kBF16) return;
    other.grad_reduce = DType::kBF16;
    of_setting(other, "grad_reduce_bf16",
               "--grad-reduce bf16: half the bytes between replicas, gradients rounded once more", 1);
  }

  void more_microbatches() {
    Config other = plan_.config;
    other.global_batch *= 2;
    of_setting(
        other, "microbatches_x2",
        fmt::format("twice the microbatches: --global-batch {} (time of as many tokens, in half the updates)",
                    other.global_batch),
        2);
  }

  std::vector<WhatIf> most_first() {
    std::erase_if(list_, [&](const WhatIf& one) { return one.gain_s < kLeastGain * step_s_; });
    std::ranges::stable_sort(list_, std::greater(), &WhatIf::gain_s);
    return std::move(list_);
  }

 private:
  int devices() const { return plan_.config.mesh.num_ranks(); }

  // `then`: the cluster after it.
  void add(std::string id, std::string words, double step_s, ChangeKind kind, Price price, const Profile& then) {
    const auto cost = token_cost_change(profile_, then, devices(), price, step_s_, step_s);
    list_.push_back({.id = std::move(id),
                     .change = std::move(words),
                     .step_s = step_s,
                     .gain_s = step_s_ - step_s,
                     .kind = kind,
                     .price = std::move(price),
                     .token_cost_change = cost});
  }

  // `times` as many tokens as now. Settings that are no layout, or do not fit, are no offer.
  void of_setting(const Config& config, const std::string& id, const std::string& words, double times) {
    Problems problems;
    validate_layout(config, config.mesh.num_ranks(), problems);
    if (!problems.empty()) return;
    const std::optional<Plan> plan =
        build_plan_to_compare(config, [&](int64_t bytes) { return fits(bytes, config, profile_); });
    if (plan)
      add(id, words, simulate(*plan, profile_, options_).step_s / times, ChangeKind::kSetting,
          free_of_charge("a setting"), profile_);
  }

  const Plan& plan_;
  const Profile& profile_;
  const double step_s_;
  const std::map<std::string, double> known_;
  const SimulationOptions options_;
  std::vector<WhatIf> list_;
};

constexpr int kHalvings = 1, kDoublings = 6;
constexpr double kStillGains = 0.02, kExposedEnough = 0.01;  // of a step

// Where a value that falls with the bandwidth is small: between two points as the logarithm goes. None if it never is.
std::optional<double> first_below(const LinkCurve& curve,
                                  const std::function<double(const LinkCurve::Point&)>& value) {
  const LinkCurve::Point* before = nullptr;
  for (const LinkCurve::Point& point : curve.points) {
    const double v = value(point);
    if (v <= 0) {
      if (!before) return point.gb_per_s;
      const double above = value(*before), share = above / (above - v);
      return before->gb_per_s * std::pow(point.gb_per_s / before->gb_per_s, share);
    }
    before = &point;
  }
  return std::nullopt;
}

LinkCurve curve_of(const Plan& plan, const Profile& profile, const Simulation& now, void (*scale)(Profile&, double),
                   LinkCurve curve) {
  const SimulationOptions options{.slow = slow_ranks_of(plan.config),
                                  .detail = plan.config.detail.value_or(Detail::kAction)};
  for (int k = -kHalvings; k <= kDoublings; ++k) {
    Profile changed = profile;
    const double by = std::exp2(k);
    scale(changed, by);
    const Simulation simulation = k == 0 ? now : simulate(plan, changed, options);
    LinkCurve::Point& point = curve.points.emplace_back();
    point.gb_per_s = curve.now_gb_per_s * by, point.step_s = simulation.step_s;
    for (size_t axis = 0; axis < kAxes.size(); ++axis) point.exposed_s[axis] = simulation.mean[kCommKinds[axis]];
  }
  const double least_s = curve.points.back().step_s;
  curve.enough_gb_per_s =
      first_below(curve, [&](const LinkCurve::Point& p) { return p.step_s - (1 + kStillGains) * least_s; });
  return curve;
}

double link_of(const Profile& profile) {
  return profile.host.nvlink_devices > 1 ? profile.host.nvlink_gb_per_s : profile.device.link_gb_per_s;
}

std::vector<WhatIf> most_first(Changes changes) {
  changes.of_profile();
  changes.other_devices();
  changes.recompute_less();
  changes.other_schedules();
  changes.other_splits();
  changes.rounded_gradients();
  changes.more_microbatches();
  return changes.most_first();
}

// The points of curves where links are twice as fast.
std::map<std::string, double> known_of(const std::vector<LinkCurve>& curves) {
  std::map<std::string, double> known;
  for (const LinkCurve& curve : curves)
    known[curve.links == kInside ? "links_x2" : "network_x2"] = curve.points[kHalvings + 1].step_s;
  return known;
}

}  // namespace

std::string_view name(ChangeKind kind) {
  return kind == ChangeKind::kSetting ? "setting" : kind == ChangeKind::kCluster ? "cluster" : "bound";
}

std::vector<WhatIf> what_if(const Plan& plan, const Profile& profile, double step_s) {
  return most_first({plan, profile, step_s, {}});
}

std::vector<NewHardware> new_hardware(const Profile& profile, int devices) {
  std::vector<NewHardware> list;
  if (profile.is_cpu()) return list;
  if (profile.device.memory_gib < kLargeCard_gib) {
    list.push_back(
        {"memory_80gib", "80 GiB of memory", profile, ChangeKind::kBound, not_for_sale(no_large_card(profile))});
    list.back().profile.device.memory_gib = kLargeCard_gib;
  }
  if (lacks_bridges(profile) && devices > 1) {
    list.push_back({"nvlink_bridges", kBridges, profile, ChangeKind::kCluster, price_of_bridges()});
    give_bridges(list.back().profile);
  }
  if (profile.host.nvlink_devices < profile.host.devices && devices > 1) {
    list.push_back({"links_a100", "NVLink as in an A100 SXM host", profile, ChangeKind::kBound,
                    not_for_sale(no_nvlink(profile))});
    give_nvlink(list.back().profile);
  }
  for (Profile& other : offers_beside(profile)) {
    Price price = price_of_cluster(profile, other, devices);
    list.push_back(
        {"cluster_" + other.name, words_of_offer(other), std::move(other), ChangeKind::kCluster, std::move(price)});
  }
  return list;
}

std::vector<LinkCurve> link_curves(const Plan& plan, const Profile& profile, const Simulation& now) {
  std::vector<LinkCurve> curves;
  if (profile.is_cpu() || plan.config.mesh.num_ranks() < 2) return curves;
  LinkCurve inside{.links = kInside, .unit = "a card and direction", .now_gb_per_s = link_of(profile)};
  for (const auto& [words, name] : {std::pair{"RTX 4090", "rtx4090"},
                                    {"with P2P", "rtx4090-p2p"},
                                    {"NVLink bridge", "rtx3090-nvlink"},
                                    {"A100", "a100-80-sxm"},
                                    {"H100", "h100-sxm"}})
    inside.markers.emplace_back(words, link_of(load_profile(name)));
  if (profile.host.devices > 1) curves.push_back(curve_of(plan, profile, now, scale_links, std::move(inside)));
  if (one_host(profile, plan.config)) return curves;
  LinkCurve between{.links = kBetween, .unit = "a host and direction", .now_gb_per_s = network_of(profile)};
  for (const auto& [words, name] :
       {std::pair{"one NIC of 100 Gb/s", "rtx4090"}, {"eight of 200 Gb/s", "rtx4090-8x200g"}, {"H100", "h100-sxm"}})
    between.markers.emplace_back(words, network_of(load_profile(name)));
  curves.push_back(curve_of(plan, profile, now, scale_network, std::move(between)));
  return curves;
}

std::vector<LinkThreshold> thresholds(const std::vector<LinkCurve>& curves) {
  std::vector<LinkThreshold> found;
  for (size_t axis = 0; axis < kAxes.size(); ++axis) {
    const LinkCurve* best = nullptr;
    double least = 0;
    for (const LinkCurve& curve : curves) {
      const LinkCurve::Point& now = curve.points[kHalvings];
      if (now.exposed_s[axis] < kStillGains * now.step_s) continue;
      const double left = curve.points.back().exposed_s[axis];
      if (!best || left < least) best = &curve, least = left;
    }
    if (!best) continue;
    found.push_back(
        {kAxes[axis], best->links,
         first_below(*best,
                     [&](const LinkCurve::Point& p) { return p.exposed_s[axis] - kExposedEnough * p.step_s; }),
         best->points.back().gb_per_s});
  }
  return found;
}

Outlook outlook(const Plan& plan, const Profile& profile, const Simulation& now) {
  Outlook outlook{.what_if = {}, .curves = link_curves(plan, profile, now), .thresholds = {}};
  outlook.what_if = most_first({plan, profile, now.step_s, known_of(outlook.curves)});
  outlook.thresholds = thresholds(outlook.curves);
  return outlook;
}

}  // namespace trine
