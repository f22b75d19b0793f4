// Bandwidth of checkpoints beside `dd conv=fsync` of the same size on the same disk, interleaved round by round.
//   build/bin/checkpoint_bench [FOLDER] [MIB] [WRITERS] [ROUNDS]        . 1024 1 5 by default
// save: files, fsync, manifest, commit. snapshot: what training waits for, beside one memcpy of the state. check:
// hashes of all files, cold cache. load: check and all tensors, cold cache, beside dd reading the files. "of a
// core" is what the processor alone would allow, whatever else runs on the machine.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fmt/core.h>
#include <thread>
#include <unistd.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/save.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

template <typename F>
double seconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of all threads of this process.
template <typename F>
double processor_seconds(F&& f) {
  const std::clock_t start = std::clock();
  f();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double shell(const std::string& command) {
  return seconds([&] {
    if (std::system(("(" + command + ") 2> /dev/null").c_str()) != 0) throw std::runtime_error(command + " failed");
  });
}

void drop_from_cache(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const int fd = ::open(entry.path().c_str(), O_RDONLY);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

// Matrices of 4096 columns, as a model of that hidden size has; writer w owns its rows.
struct State {
  State(int64_t bytes, int writers) : data(static_cast<size_t>(bytes / 4 / kColumns * kColumns)) {
    uint32_t random = 1;
    for (float& x : data) x = static_cast<float>(random = random * 1664525u + 1013904223u);
    const int64_t rows = static_cast<int64_t>(data.size()) / kColumns;
    slices.resize(static_cast<size_t>(writers));
    int64_t row = 0;
    for (int64_t i = 0; row < rows; ++i) {
      const int64_t n = std::min<int64_t>(kRows, rows - row);
      const int64_t own = n / writers;
      for (int w = 0; w < writers; ++w) {
        const int64_t begin = own * w, count = w + 1 == writers ? n - begin : own;
        if (count == 0) continue;
        slices[static_cast<size_t>(w)].push_back({fmt::format("model.layers.{:04}.weight", i),
                                                  TensorKind::kWeight,
                                                  DType::kF32,
                                                  {n, kColumns},
                                                  {{{begin, 0}, {count, kColumns}}},
                                                  data.data() + (row + begin) * kColumns});
      }
      row += n;
    }
  }
  static constexpr int64_t kColumns = 4096, kRows = 4096;
  std::vector<float> data;
  std::vector<std::vector<Slice>> slices;  // by writer
};

struct Saved {
  fs::path path;
  double snapshot, total, processor;
};

Saved save(const fs::path& folder, const State& state, std::vector<std::unique_ptr<AsyncSaver>>& savers,
           int round) {
  Saved saved{};
  SaveOutcome outcome;
  const auto start = [&](size_t w) {
    SaveJob job;
    job.folder = folder;
    job.token = fmt::format("round{}", round);
    job.rank = static_cast<int>(w);
    job.num_ranks = static_cast<int>(savers.size());
    job.keep = 1;
    job.timeout = std::chrono::minutes(10);
    job.state.step = round;
    savers[w]->start(std::move(job), state.slices[w]);
  };
  const auto start_all = [&] {
    std::vector<std::thread> ranks;
    for (size_t w = 1; w < savers.size(); ++w) ranks.emplace_back(start, w);
    start(0);
    for (std::thread& rank : ranks) rank.join();
  };
  const auto finish_all = [&] {
    for (auto& saver : savers) {
      const SaveOutcome one = *saver->finish();
      if (!one.ok) throw std::runtime_error(one.problem);
      if (!one.path.empty()) saved.path = one.path;
    }
  };
  saved.processor = processor_seconds([&] {
    saved.total = seconds([&] {
      saved.snapshot = seconds(start_all);
      finish_all();
    });
  });
  return saved;
}

void load(const fs::path& path, std::vector<std::byte>& out) {
  Checkpoint checkpoint(path);
  checkpoint.check_files();
  size_t at = 0;
  for (const TensorEntry& tensor : checkpoint.manifest().tensors) {
    const std::vector<Box> whole = {Box::whole(tensor.shape)};
    const auto bytes = static_cast<size_t>(tensor.size_bytes());
    checkpoint.read(tensor, whole, std::span(out).subspan(at, bytes));
    at += bytes;
  }
}

void run(const fs::path& folder, int64_t mib, int writers, int rounds) {
  const State state(mib << 20, writers);
  const double gigabytes = static_cast<double>(state.data.size()) * 4e-9;
  std::vector<std::unique_ptr<AsyncSaver>> savers;
  for (const auto& slices : state.slices) {
    int64_t bytes = 0;
    for (const Slice& slice : slices) bytes += slice.size_bytes();
    savers.push_back(std::make_unique<AsyncSaver>());
    savers.back()->reserve(bytes);
  }
  std::vector<std::byte> out(state.data.size() * 4);
  std::vector<double> dd_write, write, snapshot, copy, dd_read, read, check;
  std::vector<double> write_share, read_share, copies, save_processor, load_processor;
  const fs::path checkpoints = folder / "trine-checkpoint-bench", plain = folder / "trine-dd-bench";
  const auto dd = [&](int w, const std::string& io) { return fmt::format("dd bs=4M {} & p{}=$!; ", io, w); };
  for (int round = 1; round <= rounds; ++round) {
    std::string writing, reading;
    for (int w = 0; w < writers; ++w) {
      const std::string file = fmt::format("{}.{}", plain.string(), w);
      writing += dd(w, fmt::format("if=/dev/zero of={} count={} conv=fsync", file, mib / 4 / writers));
    }
    fs::remove_all(checkpoints);
    ::sync();
    dd_write.push_back(shell(writing + "wait"));
    for (int w = 0; w < writers; ++w) fs::remove(fmt::format("{}.{}", plain.string(), w));
    ::sync();
    const Saved saved = save(checkpoints, state, savers, round);
    write.push_back(saved.total - saved.snapshot);
    snapshot.push_back(saved.snapshot);
    save_processor.push_back(saved.processor);
    copy.push_back(seconds([&] { std::memcpy(out.data(), state.data.data(), out.size()); }));
    copies.push_back(snapshot.back() / copy.back());
    drop_from_cache(saved.path);
    for (const auto& entry : fs::directory_iterator(saved.path)) {
      reading += fmt::format("dd bs=4M if={} of=/dev/null; ", entry.path().string());
    }
    dd_read.push_back(shell(reading));
    drop_from_cache(saved.path);
    std::memset(out.data(), 0, out.size());
    load_processor.push_back(processor_seconds([&] { read.push_back(seconds([&] { load(saved.path, out); })); }));
    drop_from_cache(saved.path);
    check.push_back(seconds([&] { Checkpoint(saved.path).check_files(); }));
    write_share.push_back(dd_write.back() / write.back());
    read_share.push_back(dd_read.back() / read.back());
    if (std::memcmp(out.data(), state.data.data(), out.size()) != 0) throw std::runtime_error("read back wrong");
  }
  fs::remove_all(checkpoints);
  fmt::print("{} MiB, {} writer{}, median of {} rounds, GB/s\n", mib, writers, writers > 1 ? "s" : "", rounds);
  const auto line = [&](const char* what, const std::vector<double>& times, const std::string& note) {
    fmt::print("{:>10} {:7.2f}   {}\n", what, gigabytes / median(times), note);
  };
  const auto share = [&](const std::vector<double>& shares, const std::vector<double>& processor) {
    return fmt::format("{:.0f} % of dd, {:.2f} of a core", 100 * median(shares), gigabytes / median(processor));
  };
  line("dd write", dd_write, "");
  line("save", write, share(write_share, save_processor));
  line("memcpy", copy, "");
  line("snapshot", snapshot,
       fmt::format("{:.0f} ms, {:.2f} of the memcpy", 1e3 * median(snapshot), median(copies)));
  line("dd read", dd_read, "");
  line("check", check, "");
  line("load", read, share(read_share, load_processor));
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  const auto number = [&](int i, int fallback) { return argc > i ? std::max(1, std::atoi(argv[i])) : fallback; };
  try {
    trine::run(argc > 1 ? argv[1] : ".", number(2, 1024), number(3, 1), number(4, 5));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
