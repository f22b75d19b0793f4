#include "data/prepare.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"
#include "data/token_file_writer.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20, kPieceBytes = size_t{256} << 10, kMaxLineBytes = size_t{256} << 20;

// A text file or standard input, read in blocks.
class TextFile {
 public:
  TextFile(const std::string& path, std::FILE* standard_input) : name_(path == "-" ? "standard input" : path) {
    if (path == "-") {
      file_ = {standard_input, [](std::FILE*) { return 0; }};
      return;
    }
    file_ = {std::fopen(path.c_str(), "rb"), std::fclose};
    struct stat info {};
    if (file_ && ::fstat(::fileno(file_.get()), &info) == 0 && S_ISDIR(info.st_mode)) errno = EISDIR, file_.reset();
    if (!file_) throw error(fmt::format("{}. Check the path and its permissions", std::strerror(errno)));
  }

  // False at the end of the file.
  bool read(std::string& block) {
    block.resize(kBlockBytes);
    block.resize(std::fread(block.data(), 1, block.size(), file_.get()));
    if (std::ferror(file_.get())) throw error(fmt::format("{}. Check the disk", std::strerror(errno)));
    if (std::exchange(at_begin_, false)) refuse_compressed(block);
    return !block.empty();
  }

  DataError error(const std::string& what) const { return DataError(fmt::format("[data] {}: {}.", name_, what)); }
  DataError error(int64_t line, const std::string& what) const {
    return DataError(fmt::format("[data] {}:{}: {}.", name_, line, what));
  }

 private:
  void refuse_compressed(std::string_view block) const {
    constexpr std::string_view gzip = "\x1f\x8b", zstd = "\x28\xb5\x2f\xfd",
                               xz("\xfd"
                                  "7zXZ\0",
                                  6);
    for (std::string_view magic : {gzip, zstd, xz}) {
      if (!block.starts_with(magic)) continue;
      throw error("is compressed, need plain text. Decompress it, for instance: zcat FILE | prepare_data -");
    }
  }

  std::string name_;
  bool at_begin_ = true;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_ = {nullptr, std::fclose};
};

// Encodes documents of any length piece by piece.
class DocumentEncoder {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, int32_t end_id, TokenFileWriter& writer)
      : tokenizer_(tokenizer), end_id_(end_id), writer_(writer) {}

  void add(std::string_view text) {
    while (!text.empty()) {  // so that a document of one huge line of .jsonl is not copied whole
      const size_t part = std::min(text.size(), 2 * kPieceBytes - std::min(2 * kPieceBytes - 1, pending_.size()));
      pending_ += text.substr(0, part);
      text.remove_prefix(part);
      if (pending_.size() < kPieceBytes) continue;
      const size_t cut = cut_position(pending_);
      encode(std::string_view(pending_).substr(0, cut));
      pending_.erase(0, cut);
    }
  }

  void end() {
    encode(pending_);
    pending_.clear();
    if (num_tokens_ > 0) writer_.append({&end_id_, 1});
    num_tokens_ = 0;
    writer_.end_document();
  }

 private:
  // After the last newline with no white space behind it, where no token of the usual patterns reaches across; else
  // the last beginning of a UTF-8 character.
  static size_t cut_position(std::string_view text) {
    for (size_t at = text.size() - 1; at > 0; --at) {
      if (text[at - 1] == '\n' && std::string_view(" \t\r\n\v\f").find(text[at]) == std::string_view::npos)
        return at;
    }
    size_t at = text.size() - 1;
    while (at + 4 > text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    return at;
  }

  void encode(std::string_view text) {
    ids_.clear();
    tokenizer_.encode(text, ids_);
    num_tokens_ += ids_.size();
    writer_.append(ids_);
  }

  const Tokenizer& tokenizer_;
  const int32_t end_id_;
  TokenFileWriter& writer_;
  std::string pending_;
  std::vector<int32_t> ids_;
  size_t num_tokens_ = 0;
};

std::string text_of_line(std::string_view line, const TextFile& file, int64_t number) {
  try {
    nlohmann::json json = nlohmann::json::parse(line);
    return std::move(json.at("text").get_ref<std::string&>());
  } catch (const nlohmann::json::exception& error) {
    throw file.error(number, fmt::format("{}, need a JSON object with a string \"text\". Mend or remove the line",
                                         error.what()));
  }
}

template <typename OnRead>
void read_lines(TextFile& file, DocumentEncoder& encoder, OnRead on_read) {
  std::string block, line;
  int64_t number = 0;
  const auto take_line = [&](std::string_view text) {
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) return;
    encoder.add(text_of_line(text, file, number));
    encoder.end();
  };
  while (file.read(block)) {
    std::string_view rest = block;
    for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
      line += rest.substr(0, end);
      take_line(line);
      line.clear();
    }
    line += rest;
    if (line.size() > kMaxLineBytes) {
      throw file.error(number + 1, fmt::format("longer than {}. Split the document", format_bytes(kMaxLineBytes)));
    }
    on_read(block.size());
  }
  if (!line.empty()) take_line(line);
}

template <typename OnRead>
void read_text(TextFile& file, DocumentEncoder& encoder, OnRead on_read) {
  for (std::string block; file.read(block); on_read(block.size())) encoder.add(block);
  encoder.end();
}

int64_t total_size(const std::vector<std::string>& texts) {
  int64_t total = 0;
  for (const std::string& text : texts) {
    std::error_code unknown;
    const auto size = text == "-" ? 0 : fs::file_size(text, unknown);
    if (text == "-" || unknown) return 0;
    total += static_cast<int64_t>(size);
  }
  return total;
}

}  // namespace

PreparedInfo prepare(const PrepareRequest& request, const Tokenizer& tokenizer, std::FILE* standard_input,
                     const std::function<void(const PrepareProgress&)>& progress) {
  const auto end_id = tokenizer.end_id();
  if (!end_id) {
    throw DataError(
        fmt::format("[tokenizer] {} has no end-of-document token, need one between documents. Use a "
                    "tokenizer with </s>, <|end_of_text|> or <|endoftext|>.",
                    tokenizer.name()));
  }
  TokenFileWriter writer(request.out, tokenizer.vocab_size());
  DocumentEncoder encoder(tokenizer, *end_id, writer);
  PrepareProgress state{.total_bytes = total_size(request.texts)};
  const auto on_read = [&](size_t bytes) {
    state.bytes += static_cast<int64_t>(bytes);
    state.tokens = writer.num_tokens();
    state.documents = writer.num_documents();
    if (progress) progress(state);
  };
  for (const std::string& path : request.texts) {
    TextFile file(path, standard_input);
    fs::path(path).extension() == ".jsonl" ? read_lines(file, encoder, on_read) : read_text(file, encoder, on_read);
  }
  PreparedInfo info{.tokenizer = tokenizer.name(),
                    .tokenizer_hash = tokenizer.hash(),
                    .vocab_size = tokenizer.vocab_size(),
                    .num_documents = writer.num_documents()};
  AtomicFile info_file(fs::path(request.out) += ".json");
  writer.finish(request.valid_fraction, [&](TokenFileWriter::Split split) {
    info.train_tokens = split.train_tokens;
    info.valid_tokens = split.valid_tokens;
    info_file.write(to_json_text(info));
    info_file.sync();
  });
  info_file.publish();
  on_read(0);
  return info;
}

}  // namespace trine
