// Drives a fuzz target where libFuzzer is missing: replays the corpus, then mutates it at random,
// without coverage feedback. Takes libFuzzer's flags -runs, -max_total_time, -max_len, -seed, -dict
// and -artifact_prefix, then folders of seeds.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "targets/fuzz.h"

namespace {

using Input = std::vector<uint8_t>;

struct Options {
  int64_t runs = -1, seconds = 0, most = 4096, seed = 1;
  std::string dictionary, prefix;
  std::vector<std::string> folders;
};

Input current;           // what the target is looking at
std::string crash_path;  // where to put it if the process dies

// On SIGABRT, which is how the sanitizers end the process here: system calls only.
void keep_current(int) {
  const int file = open(crash_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool kept = file >= 0 && write(file, current.data(), current.size()) ==
                                     static_cast<ssize_t>(current.size());
  if (kept) std::fprintf(stderr, "input kept in %s\n", crash_path.c_str());
  std::_Exit(77);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int k = 1; k < argc; ++k) {
    const std::string argument = argv[k];
    const size_t equals = argument.find('=');
    if (argument[0] != '-' || equals == std::string::npos) {
      options.folders.push_back(argument);
      continue;
    }
    const std::string name = argument.substr(1, equals - 1), value = argument.substr(equals + 1);
    if (name == "runs") options.runs = std::stoll(value);
    if (name == "max_total_time") options.seconds = std::stoll(value);
    if (name == "max_len") options.most = std::stoll(value);
    if (name == "seed") options.seed = std::stoll(value);
    if (name == "dict") options.dictionary = value;
    if (name == "artifact_prefix") options.prefix = value;
  }
  return options;
}

Input read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<Input> read_corpus(const std::vector<std::string>& folders) {
  std::vector<Input> corpus;
  for (const std::string& folder : folders) {
    if (!std::filesystem::is_directory(folder)) {
      corpus.push_back(read(folder));
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      corpus.push_back(read(entry.path()));
    }
  }
  corpus.emplace_back();
  return corpus;
}

// Lines "...": the text between the outer quotes, \" and \\ undone.
std::vector<Input> read_dictionary(const std::string& path) {
  std::vector<Input> words;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.size() < 2 || line.front() != '"' || line.back() != '"') continue;
    Input word;
    for (size_t k = 1; k + 1 < line.size(); ++k) {
      if (line[k] == '\\') ++k;
      word.push_back(static_cast<uint8_t>(line[k]));
    }
    words.push_back(word);
  }
  return words;
}

class Mutator {
 public:
  Mutator(std::vector<Input> corpus, std::vector<Input> words, int64_t seed, int64_t most)
      : corpus_(std::move(corpus)), words_(std::move(words)), random_(seed), most_(most) {}

  Input next() {
    Input input = pick(corpus_);
    if (below(8) == 0) input = noise(below(static_cast<size_t>(most_)));
    for (size_t k = 1 + below(6); k > 0; --k) change(input);
    if (input.size() > static_cast<size_t>(most_)) input.resize(static_cast<size_t>(most_));
    return input;
  }

 private:
  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  const Input& pick(const std::vector<Input>& from) { return from[below(from.size())]; }

  void insert(Input& input, const Input& piece) {
    input.insert(input.begin() + static_cast<int64_t>(below(input.size() + 1)), piece.begin(),
                 piece.end());
  }

  Input noise(size_t size) {
    Input out(size);
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(random_());
    return out;
  }

  Input piece_of(const Input& input) {
    const size_t begin = below(input.size() + 1),
                 size = below(std::min<size_t>(input.size() - begin, 64) + 1);
    return {input.begin() + static_cast<int64_t>(begin),
            input.begin() + static_cast<int64_t>(begin + size)};
  }

  void change(Input& input) {
    switch (below(8)) {
      case 0:
        if (!input.empty()) input[below(input.size())] ^= static_cast<uint8_t>(1 << below(8));
        return;
      case 1:
        if (!input.empty()) input[below(input.size())] = static_cast<uint8_t>(random_());
        return;
      case 2: insert(input, {static_cast<uint8_t>(random_())}); return;
      case 3: {
        const size_t begin = below(input.size() + 1), size = below(input.size() - begin + 1);
        const auto at = input.begin() + static_cast<int64_t>(begin);
        input.erase(at, at + static_cast<int64_t>(std::min<size_t>(size, 32)));
        return;
      }
      case 4: insert(input, piece_of(input)); return;
      case 5: insert(input, piece_of(pick(corpus_))); return;
      case 6:
        if (!words_.empty()) insert(input, pick(words_));
        return;
      default: insert(input, noise(below(64)));
    }
  }

  std::vector<Input> corpus_, words_;
  std::mt19937_64 random_;
  int64_t most_;
};

}  // namespace

extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  crash_path = options.prefix + "crash-" + std::to_string(getpid());
  std::signal(SIGABRT, keep_current);
  const std::vector<Input> corpus = read_corpus(options.folders);
  for (const Input& input : corpus) {
    current = input;
    LLVMFuzzerTestOneInput(current.data(), current.size());
  }
  const std::vector<Input> words = read_dictionary(options.dictionary);
  Mutator mutator(corpus, words, options.seed, options.most);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  int64_t runs = 0;
  while ((options.runs < 0 || runs < options.runs) &&
         (options.seconds <= 0 || seconds() < static_cast<double>(options.seconds))) {
    if (options.runs < 0 && options.seconds <= 0) break;
    current = mutator.next();
    LLVMFuzzerTestOneInput(current.data(), current.size());
    ++runs;
  }
  std::fprintf(stderr, "Done %lld runs in %.1f second(s)\n", static_cast<long long>(runs),
               seconds());
  return 0;
}
