// gpu_probe [--dry-run] attention|products|copies|nccl ...      exit 0; 1: a question had no answer; 2: no GPU
#include <algorithm>
#include <bit>
#include <cstdio>
#include <dlfcn.h>
#include <link.h>
#include <map>

#include "bench/gpu_probe/probe.h"

namespace trine::probe {

void Report::row(const std::string& what, const std::function<std::string()>& result) {
  try {
    fmt::print("row|{}|{}\n", what, result());
  } catch (const std::exception& error) {
    failed_ = true;
    std::string text = error.what();
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == '|'; }, ' ');
    fmt::print("row|{}|FAILED: {}\n", what, text);
  }
  std::fflush(stdout);  // what was learnt before a crash
}

double seconds_of(cudaStream_t stream, const std::function<void()>& enqueue) {
  const cuda::Event begin(/*timed=*/true), end(/*timed=*/true);
  const auto time = [&](int rounds) {
    begin.record(stream);
    for (int round = 0; round < rounds; ++round) enqueue();
    end.record(stream);
    end.synchronize();
    return end.seconds_since(begin) / rounds;
  };
  enqueue();
  const double once = time(1);
  return time(static_cast<int>(std::clamp(0.05 / std::max(once, 1e-6), 2.0, 100.0)));
}

cuda::DeviceBuffer random_bf16(int64_t elements) {
  constexpr int64_t kPart = int64_t{1} << 20;
  static const std::vector<uint16_t> part = [] {
    std::vector<uint16_t> values(kPart);
    uint32_t state = 12345;
    for (uint16_t& value : values) {
      state = state * 1664525u + 1013904223u;  // Numerical Recipes
      const float x = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      value = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
    }
    return values;
  }();
  cuda::DeviceBuffer buffer(elements * 2);
  for (int64_t begin = 0; begin < elements; begin += kPart)
    TRINE_CUDA(cudaMemcpy(buffer.data() + begin * 2, part.data(),
                          static_cast<size_t>(std::min(kPart, elements - begin)) * 2, cudaMemcpyHostToDevice));
  return buffer;
}

std::string place_of(const std::string& library) {
  void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) throw ConfigError(fmt::format("{} cannot be opened ({})", library, ::dlerror()));
  link_map* map = nullptr;
  ::dlinfo(handle, RTLD_DI_LINKMAP, &map);
  return fmt::format("{} is {}", library, map->l_name);
}

namespace {

int run(const std::vector<std::string>& words) {
  const std::map<std::string, void (*)(Report&, const cuda::ContextPtr&)> parts = {
      {"attention", probe_attention}, {"products", probe_products}, {"copies", probe_copies}, {"nccl", probe_nccl}};
  bool dry = false;
  std::vector<std::string> wanted;
  for (const std::string& word : words) {
    if (word == "--dry-run")
      dry = true;
    else if (parts.contains(word))
      wanted.push_back(word);
    else
      throw ConfigError(fmt::format("[probe] {} is none of: --dry-run attention products copies nccl", word));
  }
  const cuda::ContextPtr context = dry ? nullptr : cuda::make_context(0);
  Report report;
  for (const std::string& part : wanted) parts.at(part)(report, context);
  return report.failed() ? 1 : 0;
}

}  // namespace
}  // namespace trine::probe

int main(int argc, char** argv) try {
  return trine::probe::run({argv + 1, argv + argc});
} catch (const trine::Error& error) {
  fmt::print(stderr, "{}\n", error.what());
  return static_cast<int>(error.code());
}
