#include "base/link_model.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace trine {
namespace {

using Uses = std::vector<LinkUse>;

std::vector<double> rates_of(const LinkModel& links, const std::vector<Uses>& flows) {
  std::vector<std::span<const LinkUse>> spans(flows.begin(), flows.end());
  return fair_rates(links, spans);
}

TEST(LinkModel, TheTextbooksExample) {
  // Bertsekas and Gallager, figure 6.14 in spirit: a long flow over two links shares the narrow one, and the other
  // link's flow takes what that leaves.
  LinkModel links;
  const int narrow = links.add("narrow", 1), wide = links.add("wide", 2);
  const auto rates = rates_of(links, {{{narrow}, {wide}}, {{narrow}}, {{wide}}});
  EXPECT_DOUBLE_EQ(rates[0], 0.5);
  EXPECT_DOUBLE_EQ(rates[1], 0.5);
  EXPECT_DOUBLE_EQ(rates[2], 1.5);
}

TEST(LinkModel, BytesThatCrossTwiceCountTwice) {
  LinkModel links;
  const int memory = links.add("host memory", 40), gpu = links.add("link", 25);
  EXPECT_DOUBLE_EQ(rates_of(links, {{{memory, 2}, {gpu}}})[0], 20);
  EXPECT_DOUBLE_EQ(links.rate_alone(Uses{{memory, 2}, {gpu}}), 20);
  // Fair in bytes of the flow: 2 r + r = 40.
  const auto rates = rates_of(links, {{{memory, 2}}, {{memory, 1}}});
  EXPECT_DOUBLE_EQ(rates[0], 40.0 / 3);
  EXPECT_DOUBLE_EQ(rates[1], 40.0 / 3);
}

TEST(LinkModel, AFlowOverNothingIsNotHeldUp) {
  LinkModel links;
  links.add("unused", 1);
  EXPECT_EQ(rates_of(links, {{}})[0], INFINITY);
  EXPECT_TRUE(rates_of(links, {}).empty());
}

// The definition, on random networks: no resource is over its rate, and every flow has a bottleneck, a full
// resource on which nobody is faster.
TEST(LinkModel, EveryFlowHasABottleneck) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    LinkModel links;
    for (int r = 0; r < 1 + pick(6); ++r) links.add("r", 1 + pick(1000) * 0.37);
    std::vector<Uses> flows(static_cast<size_t>(1 + pick(9)));
    for (Uses& uses : flows)
      for (int r = 0; r < links.num_resources(); ++r)
        if (pick(2) == 0 || (uses.empty() && r + 1 == links.num_resources()))
          uses.push_back({r, 0.5 + 0.5 * pick(4)});
    const auto rates = rates_of(links, flows);
    std::vector<double> load(static_cast<size_t>(links.num_resources()), 0.0);
    for (size_t f = 0; f < flows.size(); ++f)
      for (const LinkUse& use : flows[f]) load[static_cast<size_t>(use.resource)] += use.weight * rates[f];
    for (int r = 0; r < links.num_resources(); ++r)
      EXPECT_LE(load[static_cast<size_t>(r)], links.bytes_per_s(r) * (1 + 1e-9));
    for (size_t f = 0; f < flows.size(); ++f) {
      bool bottleneck = false;
      for (const LinkUse& use : flows[f]) {
        bool fastest = load[static_cast<size_t>(use.resource)] >= links.bytes_per_s(use.resource) * (1 - 1e-9);
        for (size_t g = 0; g < flows.size(); ++g)
          for (const LinkUse& other : flows[g])
            if (other.resource == use.resource && rates[g] > rates[f] * (1 + 1e-9)) fastest = false;
        bottleneck |= fastest;
      }
      EXPECT_TRUE(bottleneck) << "trial " << trial << ", flow " << f;
    }
  }
}

TEST(ActiveFlows, SharesChangeWhenOneBeginsOrEnds) {
  LinkModel links;
  const int link = links.add("link", 10);
  const Uses uses = {{link}};
  ActiveFlows flows(links);
  const auto first = flows.begin(0, 100, uses);  // alone until 5: 50 left
  const auto second = flows.begin(5, 20, uses);  // both at 5: the second ends at 9, the first has 30 left
  EXPECT_EQ(flows.next_end()->flow, second);
  EXPECT_DOUBLE_EQ(flows.end_next().at, 9);
  const ActiveFlows::End end = flows.end_next();
  EXPECT_EQ(end.flow, first);
  EXPECT_DOUBLE_EQ(end.at, 12);
  EXPECT_FALSE(flows.next_end());
}

TEST(ActiveFlows, OfNoBytesOrOverNothingEndAtOnce) {
  LinkModel links;
  const int link = links.add("link", 10);
  const Uses uses = {{link}};
  ActiveFlows flows(links);
  flows.begin(3, 0, uses);
  EXPECT_DOUBLE_EQ(flows.end_next().at, 3);
  flows.begin(4, 1e9, {});
  EXPECT_DOUBLE_EQ(flows.end_next().at, 4);
}

// What a link carries while it is never idle takes as long as its bytes do, whatever begins when.
TEST(ActiveFlows, ALinkThatIsNeverIdleCarriesAllInItsTime) {
  LinkModel links;
  const int link = links.add("link", 7);
  const Uses uses = {{link}};
  ActiveFlows flows(links);
  double bytes = 0, last = 0;
  for (int i = 0; i < 50; ++i) {
    const double at = i * 0.1, size = 1 + (i * 37 % 11);
    while (const auto next = flows.next_end()) {
      if (next->at > at) break;
      flows.end_next();
    }
    flows.begin(at, size, uses);
    bytes += size;
  }
  while (flows.size() > 0) last = flows.end_next().at;
  EXPECT_NEAR(last, bytes / 7, 1e-9 * bytes);
}

TEST(ActiveFlows, NeverExceedTheirOwnLimit) {
  LinkModel links;
  const int link = links.add("link", 10);
  const Uses uses = {{link}};
  ActiveFlows flows(links);
  const auto slow = flows.begin(0, 10, uses, 2);  // 5 s
  const auto fast = flows.begin(0, 32, uses);     // at 8: 4 s
  EXPECT_EQ(flows.next_end()->flow, fast);
  EXPECT_DOUBLE_EQ(flows.end_next().at, 4);
  EXPECT_EQ(flows.next_end()->flow, slow);
  EXPECT_DOUBLE_EQ(flows.end_next().at, 5);
}

// On random networks, against the plain way: all shares anew (fair_rates) at each begin and end.
TEST(ActiveFlows, EndWhenAllSharesAreFoundAnewEachTime) {
  std::mt19937 random(11);
  for (int trial = 0; trial < 100; ++trial) {
    const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    LinkModel links;
    for (int r = 0; r < 8; ++r) links.add("r", 1 + pick(50) * 0.37);
    struct Flow {
      double at, left;
      Uses uses;
      double end = -1;
    };
    std::vector<Flow> all;
    double at = 0;
    for (int i = 0; i < 30; ++i) {
      Flow flow{at += pick(100) * 0.01, 1 + pick(40) * 0.5, {}};
      for (int r = 0; r < 8; ++r)
        if (pick(4) == 0) flow.uses.push_back({r, 0.5 + 0.5 * pick(4)});
      if (flow.uses.empty()) flow.uses.push_back({pick(8), 1});
      all.push_back(flow);
    }
    ActiveFlows flows(links);
    std::vector<double> ends(all.size());
    for (const Flow& flow : all) {
      for (auto next = flows.next_end(); next && next->at <= flow.at; next = flows.next_end())
        ends[static_cast<size_t>(next->flow - 1)] = flows.end_next().at;
      flows.begin(flow.at, flow.left, flow.uses);
    }
    while (flows.size() > 0) {
      const ActiveFlows::End end = flows.end_next();
      ends[static_cast<size_t>(end.flow - 1)] = end.at;
    }
    // The plain way.
    std::vector<size_t> active;
    size_t next = 0;
    for (double now = 0; next < all.size() || !active.empty();) {
      std::vector<std::span<const LinkUse>> uses;
      for (const size_t f : active) uses.emplace_back(all[f].uses);
      const std::vector<double> rates = fair_rates(links, uses);
      double until = next < all.size() ? all[next].at : INFINITY;
      for (size_t i = 0; i < active.size(); ++i) until = std::min(until, now + all[active[i]].left / rates[i]);
      for (size_t i = 0; i < active.size(); ++i) all[active[i]].left -= rates[i] * (until - now);
      now = until;
      std::erase_if(active, [&](size_t f) {
        if (all[f].left > 1e-9) return false;
        all[f].end = now;
        return true;
      });
      if (next < all.size() && all[next].at <= now) active.push_back(next++);
    }
    for (size_t f = 0; f < all.size(); ++f) EXPECT_NEAR(ends[f], all[f].end, 1e-6) << trial << ", flow " << f;
  }
}

}  // namespace
}  // namespace trine
