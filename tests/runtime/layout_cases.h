// The layouts and options that training is tried with: each layout, with options such that every pair of values
// that can stand together does.
#pragma once

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/shape.h"

namespace trine {

// One axis of the space of layouts, as flags.
struct LayoutFactor {
  std::string name;
  std::vector<std::string> values;
};

enum LayoutFactorIndex {
  kTp,
  kPp,
  kDp,
  kSchedule,
  kZero,
  kSp,
  kKvHeads,
  kTied,
  kRecompute,
  kMicroBatch,
  kSeq,
  kLayers
};

inline const std::vector<LayoutFactor>& layout_factors() {
  static const std::vector<LayoutFactor> factors = {
      {"tp", {"1", "2", "4"}},
      {"pp", {"1", "2", "4", "8"}},
      {"dp", {"1", "2"}},
      {"schedule", {"1f1b", "gpipe", "interleaved --vpp 2", "zero-bubble"}},
      {"zero", {"0", "1"}},
      {"sp", {"off", "on"}},
      {"kv-heads", {"4", "2", "1"}},  // multi-head, grouped, fewer than tp
      {"tie-embeddings", {"off", "on"}},
      {"recompute", {"none", "selective", "group:2", "full"}},
      {"micro-batch", {"1", "2", "3"}},
      {"seq", {"8", "7", "5"}},  // shares of tokens not all alike: 2 2 2 1, or 3 3 3 1
      {"layers", {"0", "1"}},    // more than stages: not the same number on each
  };
  return factors;
}

// A value's index for each factor.
using LayoutCase = std::array<size_t, 12>;

inline const std::string& value(const LayoutCase& c, LayoutFactorIndex factor) {
  return layout_factors()[factor].values[c[factor]];
}
inline int number(const LayoutCase& c, LayoutFactorIndex factor) { return std::stoi(value(c, factor)); }
inline int num_ranks(const LayoutCase& c) { return number(c, kTp) * number(c, kPp) * number(c, kDp); }
inline bool interleaved(const LayoutCase& c) { return value(c, kSchedule).starts_with("interleaved"); }

constexpr int kMostRanks = 16;
inline bool can_stand_together(const LayoutCase& c) {
  const bool no_tokens =
      value(c, kSp) == "on" && !split_is_valid(number(c, kMicroBatch) * number(c, kSeq), number(c, kTp));
  return num_ranks(c) <= kMostRanks && !(interleaved(c) && number(c, kPp) == 1) && !no_tokens;
}

// The model and the samples: what one rank trains too.
inline std::string model_flags(const LayoutCase& c) {
  const int layers = std::max(2, number(c, kPp) * (interleaved(c) ? 2 : 1)) + number(c, kLayers);
  return "--hidden 16 --heads 4 --head-dim 4 --ffn 22 --vocab 67 --global-batch 12 --lr 3e-4 --warmup 20 --steps "
         "40 --threads 1 --layers " +
         std::to_string(layers) + " --kv-heads " + value(c, kKvHeads) + " --tie-embeddings " + value(c, kTied) +
         " --seq " + value(c, kSeq);
}
inline std::string layout_flags(const LayoutCase& c) {
  std::string flags;
  for (LayoutFactorIndex factor : {kTp, kPp, kSchedule, kZero, kSp, kRecompute, kMicroBatch})
    flags += " --" + layout_factors()[factor].name + " " + value(c, factor);
  return flags;
}

// Two factors with a value each.
using LayoutPair = std::array<size_t, 4>;
inline std::set<LayoutPair> pairs_of(const LayoutCase& c) {
  std::set<LayoutPair> pairs;
  for (size_t a = 0; a < c.size(); ++a)
    for (size_t b = a + 1; b < c.size(); ++b) pairs.insert({a, c[a], b, c[b]});
  return pairs;
}

// Calls f(c) for every case, those that can not stand together too.
template <typename F>
void for_each_layout_case(F&& f) {
  LayoutCase c{};
  while (true) {
    f(c);
    size_t factor = 0;
    while (factor < c.size() && ++c[factor] == layout_factors()[factor].values.size()) c[factor++] = 0;
    if (factor == c.size()) return;
  }
}

// Grows the list by one greedy case after another. Of some random ways to complete what is asked for (a layout that
// was not tried, then a pair) the one with the most new pairs counts. Deterministic.
class PairwiseCases {
 public:
  std::vector<LayoutCase> make() {
    for (size_t tp = 0; tp < 3; ++tp)
      for (size_t pp = 0; pp < 4; ++pp)
        for (size_t dp = 0; dp < 2; ++dp) add({{kTp, tp}, {kPp, pp}, {kDp, dp}});
    const size_t factors = layout_factors().size();
    for (size_t a = 0; a < factors; ++a)
      for (size_t b = a + 1; b < factors; ++b)
        for (size_t x = 0; x < num_values(a); ++x)
          for (size_t y = 0; y < num_values(b); ++y)
            if (!covered_.contains({a, x, b, y})) add({{a, x}, {b, y}});
    return std::move(cases_);
  }

 private:
  using Fixed = std::vector<std::pair<size_t, size_t>>;  // factor and value
  static size_t num_values(size_t factor) { return layout_factors()[factor].values.size(); }

  // Nothing, if no case has these values.
  void add(const Fixed& fixed) {
    constexpr int kTries = 60;
    LayoutCase best{};
    size_t most = 0;
    for (int i = 0; i < kTries; ++i) {
      LayoutCase c;
      for (size_t factor = 0; factor < c.size(); ++factor) c[factor] = draw() % num_values(factor);
      for (const auto& [factor, value] : fixed) c[factor] = value;
      if (!can_stand_together(c)) continue;
      size_t gain = 0;
      for (const LayoutPair& pair : pairs_of(c)) gain += !covered_.contains(pair);
      if (gain > most) most = gain, best = c;
    }
    if (most == 0) return;
    cases_.push_back(best);
    covered_.merge(pairs_of(best));
  }
  uint64_t draw() { return random_u64(kSeed, 0, draws_++); }

  static constexpr uint64_t kSeed = 5;
  uint64_t draws_ = 0;
  std::vector<LayoutCase> cases_;
  std::set<LayoutPair> covered_;
};

}  // namespace trine
