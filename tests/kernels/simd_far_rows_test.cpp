// Rows more than 2^31 elements apart, in address space that is hardly touched:
// the bits are those of rows side by side.
#include <sys/mman.h>

#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

using SimdFarRows = SimdTest;
TRINE_INSTANTIATE_SIMD(SimdFarRows);

constexpr int64_t kRows = 3, kFar = (int64_t{1} << 31) + 40;

// kRows rows of d elements, `stride` apart.
class Spread {
 public:
  Spread(DType dtype, int64_t d, int64_t stride)
      : d_(d), stride_(stride), item_(static_cast<int64_t>(size_bytes(dtype))) {
    bytes_ = static_cast<size_t>(((kRows - 1) * stride + d) * item_);
    void* const data =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data != MAP_FAILED) data_ = static_cast<char*>(data);
  }
  Spread(DType dtype, int64_t d, int64_t stride, unsigned seed) : Spread(dtype, d, stride) {
    if (data_ == nullptr) return;
    const std::string bits = Matrix(dtype, kRows, d, random_doubles(kRows * d, seed)).bits();
    for (int64_t i = 0; i < kRows; ++i)
      std::memcpy(row(i), bits.data() + i * d_ * item_, static_cast<size_t>(d_ * item_));
  }
  ~Spread() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }
  Spread(const Spread&) = delete;
  Spread& operator=(const Spread&) = delete;

  bool exists() const { return data_ != nullptr; }
  operator ConstRows() const { return {data_, stride_}; }
  Rows out() { return {data_, stride_}; }
  std::string bits() const {
    std::string all;
    for (int64_t i = 0; i < kRows; ++i) all.append(row(i), static_cast<size_t>(d_ * item_));
    return all;
  }

 private:
  char* row(int64_t i) const { return data_ + i * stride_ * item_; }

  int64_t d_, stride_, item_;
  size_t bytes_ = 0;
  char* data_ = nullptr;
};

TEST_P(SimdFarRows, GiveTheBitsOfNearOnes) {
  constexpr int64_t kD = 32, kHeads = 2;
  const Parallel one{1};
  const AttentionShape shape{1, kRows, kHeads, kHeads, kD / kHeads};
  const int32_t ids[kRows] = {2, 0, 1};
  const std::vector<float> angles(static_cast<size_t>(kRows * kD / kHeads / 2), 0.6f), rstd(kRows, 0.7f);
  const Matrix weight(dtype(), 1, kD, random_doubles(kD, 7));
  if (!Spread(dtype(), kD, kFar).exists()) GTEST_SKIP() << "no address space";

  // All kernels on one stride, and all that they wrote.
  const auto run = [&](int64_t stride) {
    std::string all;
    const Spread a(dtype(), kD, stride, 1), b(dtype(), kD, stride, 2), c(dtype(), kD, stride, 3);
    const auto with_outputs = [&](int count, const auto& call) {
      Spread x(dtype(), kD, stride), y(dtype(), kD, stride), z(dtype(), kD, stride);
      call(x.out(), y.out(), z.out());
      const Spread* const outputs[] = {&x, &y, &z};
      for (int i = 0; i < count; ++i) all += outputs[i]->bits();
    };
    const void* const w = weight.in().data;
    std::vector<float> sums(kD), per_row(static_cast<size_t>(kRows * kHeads)), stats(3 * kRows), table(kRows * kD);
    std::vector<char> memory(1 << 22);
    char* const scratch = memory.data() + 63 - (reinterpret_cast<uintptr_t>(memory.data()) + 63) % 64;
    with_outputs(1, [&](Rows x, Rows, Rows) { f().embedding(dtype(), ids, kRows, kD, 0, kRows, a, x, one); });
    f().embedding_grad(dtype(), ids, kRows, kD, 0, kRows, a, table.data(), true, one);
    with_outputs(1,
                 [&](Rows x, Rows, Rows) { f().rms_norm(dtype(), kRows, kD, 1e-5f, a, w, x, sums.data(), one); });
    with_outputs(2, [&](Rows x, Rows y, Rows) {
      f().add_rms_norm(dtype(), kRows, kD, 1e-5f, a, b, w, x, y, per_row.data(), one);
    });
    with_outputs(1, [&](Rows x, Rows, Rows) {
      f().rms_norm_grad(dtype(), kRows, kD, a, w, rstd.data(), b, c, x, sums.data(), scratch, one);
    });
    with_outputs(1, [&](Rows x, Rows, Rows) {
      f().rope(dtype(), kRows, kHeads, kD / kHeads, kRows, a, angles.data(), angles.data(), false, x, one);
    });
    with_outputs(1, [&](Rows x, Rows, Rows) {
      f().attention_forward(dtype(), shape, a, b, c, x, per_row.data(), scratch, one);
    });
    with_outputs(3, [&](Rows x, Rows y, Rows z) {
      f().attention_backward(dtype(), shape, a, b, c, a, per_row.data(), b, x, y, z, scratch, one);
    });
    with_outputs(1, [&](Rows x, Rows, Rows) { f().attention_rows(dtype(), shape, a, b, c, x, scratch, one); });
    with_outputs(1, [&](Rows x, Rows, Rows) { f().swiglu(dtype(), kRows, kD, a, b, x, one); });
    with_outputs(2, [&](Rows x, Rows y, Rows) { f().swiglu_grad(dtype(), kRows, kD, a, b, c, x, y, one); });
    with_outputs(1, [&](Rows x, Rows, Rows) { f().add(dtype(), kRows, kD, a, b, x, one); });
    with_outputs(1, [&](Rows x, Rows, Rows) { f().copy_rows(dtype(), dtype(), kRows, kD, a, x, one); });
    f().vocab_stats(dtype(), kRows, kD, a, ids, 0, stats.data(), one);
    with_outputs(1, [&](Rows x, Rows, Rows) {
      f().vocab_stats_grad(dtype(), kRows, kD, a, stats.data(), stats.data(), ids, 0, x, one);
    });
    Matrix product(dtype(), 1, kRows, 0);
    f().matvec(dtype(), kRows, kD, w, a, product.out().data, one);
    return all + bits(table) + bits(sums) + bits(per_row) + bits(stats) + product.bits();
  };
  EXPECT_TRUE(run(kFar) == run(kD));
}

}  // namespace
}  // namespace trine::cpu::simd_test
