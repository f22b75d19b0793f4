// Byte-pair merges by rank (Sennrich, Haddow, Birch 2016): the pair that was learned first is merged first, the
// leftmost of equals.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace trine {

class BpeMerges {
 public:
  // The next merge in order of rank. A pair that was added before gets the later rank,
  // as in Hugging Face's library.
  void add(int32_t left, int32_t right, int32_t merged);
  // Merges `ids` in place until no pair is left. O(n log n), so that a run of a million letters is no trap.
  void apply(std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    int32_t rank, merged;
  };
  const Merge* find(int32_t left, int32_t right) const;

  int32_t num_added_ = 0;
  std::unordered_map<uint64_t, Merge> merges_;  // by left << 32 | right
};

}  // namespace trine
