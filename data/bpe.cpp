#include "data/bpe.h"

#include <algorithm>
#include <functional>
#include <tuple>

namespace trine {
namespace {

uint64_t key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

struct Symbol {
  int32_t id;  // -1 once merged into its left neighbour
  int32_t previous, next;
};

struct Candidate {
  int32_t rank, at, merged;
  bool operator>(const Candidate& other) const { return std::tie(rank, at) > std::tie(other.rank, other.at); }
};

}  // namespace

void BpeMerges::add(int32_t left, int32_t right, int32_t merged) {
  merges_.insert_or_assign(key(left, right), Merge{num_added_++, merged});
}

const BpeMerges::Merge* BpeMerges::find(int32_t left, int32_t right) const {
  const auto it = merges_.find(key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void BpeMerges::apply(std::vector<int32_t>& ids) const {
  if (ids.size() < 2) return;
  const auto size = static_cast<int32_t>(ids.size());
  std::vector<Symbol> symbols(ids.size());
  std::vector<Candidate> heap;  // the lowest rank first, of several the leftmost
  heap.reserve(ids.size());
  const auto propose = [&](int32_t at) {
    if (at < 0) return;
    const Symbol& left = symbols[static_cast<size_t>(at)];
    if (left.next >= size) return;
    const Merge* merge = find(left.id, symbols[static_cast<size_t>(left.next)].id);
    if (merge == nullptr) return;
    heap.push_back({merge->rank, at, merge->merged});
    std::ranges::push_heap(heap, std::greater<>{});
  };
  for (int32_t i = 0; i < size; ++i) symbols[static_cast<size_t>(i)] = {ids[static_cast<size_t>(i)], i - 1, i + 1};
  for (int32_t i = 0; i + 1 < size; ++i) propose(i);

  while (!heap.empty()) {
    std::ranges::pop_heap(heap, std::greater<>{});
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(top.at)];
    if (left.id < 0 || left.next >= size) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Merge* merge = find(left.id, right.id);
    if (merge == nullptr || merge->rank != top.rank) continue;  // one of the two has been merged since
    left.id = top.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next < size) symbols[static_cast<size_t>(left.next)].previous = top.at;
    propose(left.previous);
    propose(top.at);
  }

  ids.clear();
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

}  // namespace trine
