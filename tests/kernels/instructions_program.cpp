// Runs every vectorised kernel once on one thread, for a tool that counts instructions
// (scripts/check_instructions.py):
//   kernel_instructions [KERNEL]      without a name it lists them: name, elements
#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/simd/functions.h"

namespace {

using namespace trine;
using namespace trine::cpu;

constexpr int64_t kTokens = 64, kHidden = 256, kFfn = 688, kVocab = 1000, kFlat = 1 << 14;

struct Case {
  std::string name;
  int64_t elements;  // that the count is divided by
  std::function<void()> run;
};

// Operands shared by all cases: the values do not matter, except that they are small and finite.
struct Operands {
  explicit Operands(const SimdFunctions& f, DType dtype)
      : floats(kFlat * 8, 0.25f), halves(kFlat * 8), labels(kTokens, 3) {
    if (dtype != DType::kF32) f.cast(DType::kF32, dtype, kFlat * 8, floats.data(), halves.data(), {1});
    base = dtype == DType::kF32 ? static_cast<void*>(floats.data()) : halves.data();
    element = dtype == DType::kF32 ? 4 : 2;
  }
  void* at(int64_t index) const { return static_cast<char*>(base) + index * element; }
  std::vector<float> floats;
  std::vector<uint16_t> halves;
  std::vector<int32_t> labels;
  void* base;
  int64_t element;
};

void add_cases(std::vector<Case>& cases, const SimdFunctions& f, DType t) {
  const auto o = std::make_shared<Operands>(f, t);
  const auto scratch = std::make_shared<std::vector<float>>(1 << 20, 0.5f);
  const auto out = std::make_shared<Operands>(f, t);
  const auto add = [&](const char* name, int64_t elements, std::function<void()> run) {
    cases.push_back({std::string(name) + "/" + std::string(trine::name(t)), elements, std::move(run)});
  };
  const auto in = [o](int64_t stride) { return ConstRows{o->at(0), stride}; };
  const auto to = [out](int64_t stride, int64_t first = 0) { return Rows{out->at(first), stride}; };
  float* const small = scratch->data();
  add("rms_norm", kTokens * kHidden, [=, &f, keep = scratch] {
    f.rms_norm(t, kTokens, kHidden, 1e-5f, in(kHidden), o->at(0), to(kHidden), small, {1});
  });
  add("add_rms_norm", kTokens * kHidden, [=, &f, keep = scratch] {
    f.add_rms_norm(t, kTokens, kHidden, 1e-5f, in(kHidden), in(kHidden), o->at(0), to(kHidden),
                   to(kHidden, kTokens * kHidden), small, {1});
  });
  add("rms_norm_grad", kTokens * kHidden, [=, &f, keep = scratch] {
    f.rms_norm_grad(t, kTokens, kHidden, in(kHidden), o->at(0), small, in(kHidden), {}, to(kHidden), small + 4096,
                    small + (1 << 18), {1});
  });
  add("rope", kTokens * kHidden, [=, &f, keep = scratch] {
    f.rope(t, kTokens, 8, 32, kTokens, in(kHidden), small, small, false, to(kHidden), {1});
  });
  const AttentionShape shape{1, kTokens, 4, 2, 64};
  add("attention_forward", kTokens * kHidden, [=, &f, keep = scratch] {
    f.attention_forward(t, shape, in(256), in(128), in(128), to(256), small, small + (1 << 18), {1});
  });
  add("attention_backward", kTokens * kHidden, [=, &f, keep = scratch] {
    f.attention_backward(t, shape, in(256), in(128), in(128), in(256), small, in(256), to(256), to(128, kFlat * 2),
                         to(128, kFlat * 4), small + (1 << 18), {1});
  });
  add("matvec", kTokens * kHidden,
      [=, &f] { f.matvec(t, kTokens, kHidden, o->at(0), in(kHidden), out->at(0), {1}); });
  add("swiglu", kTokens * kFfn, [=, &f] { f.swiglu(t, kTokens, kFfn, in(kFfn), in(kFfn), to(kFfn), {1}); });
  add("swiglu_grad", kTokens * kFfn, [=, &f] {
    f.swiglu_grad(t, kTokens, kFfn, in(kFfn), in(kFfn), in(kFfn), to(kFfn), to(kFfn, kFlat * 4), {1});
  });
  add("add", kTokens * kHidden,
      [=, &f] { f.add(t, kTokens, kHidden, in(kHidden), in(kHidden), to(kHidden), {1}); });
  add("vocab_stats", kTokens * kVocab,
      [=, &f, keep = scratch] { f.vocab_stats(t, kTokens, kVocab, in(kVocab), o->labels.data(), 0, small, {1}); });
  add("vocab_stats_grad", kTokens * kVocab, [=, &f, keep = scratch] {
    f.vocab_stats_grad(t, kTokens, kVocab, in(kVocab), small, small, o->labels.data(), 0, to(kVocab), {1});
  });
  add("embedding_grad", kTokens * kHidden, [=, &f, keep = scratch] {
    f.embedding_grad(t, o->labels.data(), kTokens, kHidden, 0, 8, in(kHidden), small, false, {1});
  });
  add("adamw", kFlat, [=, &f, keep = scratch] {
    const AdamWStep step = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, 0.5f, 1};
    f.adamw(t, kFlat, step, small, small + kFlat, small + 2 * kFlat, small + 3 * kFlat, out->at(0), {1});
  });
  if (t != DType::kF32) {
    add("cast", kFlat, [=, &f, keep = scratch] { f.cast(DType::kF32, t, kFlat, small, out->at(0), {1}); });
    return;
  }
  add("squared_norm", kFlat, [=, &f, keep = scratch] {
    int64_t bins[kNormBins] = {};
    f.squared_norm_bins(kFlat, small, bins, {1});
  });
  add("accumulate", kFlat, [=, &f, keep = scratch] { f.accumulate(kFlat, small + kFlat, small, false, {1}); });
}

}  // namespace

// The tool counts what happens in here.
extern "C" __attribute__((noinline)) void trine_counted(const std::function<void()>& run) { run(); }

int main(int argc, char** argv) {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kF32, DType::kBF16}) add_cases(cases, simd_functions(Isa::kAvx2), dtype);
  const std::string wanted = argc > 1 ? argv[1] : "";
  for (const Case& c : cases) {
    if (wanted.empty()) std::cout << c.name << ' ' << c.elements << '\n';
    if (wanted != c.name) continue;
    c.run();  // once uncounted: OpenMP and the dynamic linker set themselves up
    trine_counted(c.run);
    return 0;
  }
  return wanted.empty() ? 0 : 2;
}
