#include "world/generator.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace pyvqa::world {
namespace {

// Pre-order from the root, inputs left to right.
void add_prefix(const std::vector<ProgramNode>& program, std::vector<int16_t>& out) {
  std::vector<int8_t> waiting{static_cast<int8_t>(program.size() - 1)};
  while (!waiting.empty()) {
    const ProgramNode& node = program[static_cast<size_t>(waiting.back())];
    waiting.pop_back();
    out.push_back(node.function);
    for (const int8_t input : {node.inputs[1], node.inputs[0]})
      if (input >= 0) waiting.push_back(input);
  }
}

}  // namespace

Generator::Generator(std::vector<std::string> functions,
                     const std::vector<TemplateSource>& templates,
                     const std::map<std::string, std::vector<std::string>>& synonyms,
                     const GeneratorSettings& settings)
    : functions_(std::move(functions)), vocabulary_(synonyms), settings_(settings) {
  if (templates.empty()) throw std::invalid_argument("there are no templates");
  if (settings.per_scene < 1 || settings.block < 1 || settings.nothing < 0)
    throw std::invalid_argument("per_scene and block must be positive, nothing not negative");
  if (!(settings.search.trivial >= 0 && settings.search.trivial < 1))
    throw std::invalid_argument("trivial must lie in [0, 1)");
  for (size_t i = 0; i < templates.size(); ++i) {
    try {
      templates_.push_back(compile_template(templates[i], functions_, settings.search.expressions));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("template " + std::to_string(i) + ": " + error.what());
    }
  }
}

// What to ask of which scene.
struct Generator::Task {
  const SceneView& scene;
  int64_t position;  // among the scenes given
  uint64_t image, seed;
  SearchSettings search;
  int wanted;
};

Batch Generator::generate(const uint64_t* words, const int64_t* offsets, int64_t scenes,
                          uint64_t first, uint64_t seed) const {
  const auto block = static_cast<uint64_t>(settings_.block);
  if (first % block)
    throw std::invalid_argument("the first scene must begin a block of " + std::to_string(block));
  Batch out;
  std::vector<int64_t> uses, empty_uses;
  std::vector<AnswerBalance> balance;
  for (int64_t s = 0; s < scenes; ++s) {
    const uint64_t image = first + static_cast<uint64_t>(s);
    if (image % block == 0) {
      uses.assign(templates_.size(), 0);
      empty_uses = uses;
      balance.clear();
      for (const Template& t : templates_) balance.emplace_back(t.answers);
    }
    const SceneView scene(words + offsets[s]);
    Task task{scene, s, image, seed, settings_.search, settings_.per_scene};
    ask_scene(task, uses, balance, out);
    if (!settings_.search.expressions) continue;
    task.search.nothing = true;
    task.wanted = settings_.nothing;
    ask_scene(task, empty_uses, balance, out);
  }
  return out;
}

void Generator::ask_scene(const Task& task, std::vector<int64_t>& uses,
                          std::vector<AnswerBalance>& balance, Batch& out) const {
  // Templates least used so far come first; equals in the order of the files.
  std::vector<size_t> order(templates_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return uses[a] < uses[b]; });
  const bool nothing = task.search.nothing;
  int asked = 0;
  for (const size_t family : order) {
    if (asked == task.wanted) break;
    const auto part = static_cast<uint32_t>(family);
    Random random(task.seed, nothing ? Stream::nothing : Stream::questions, task.image, part);
    Instance instance;
    Search search(templates_[family], functions_, task.scene, balance[family], task.search, random);
    if (!search.run(instance)) continue;
    ++uses[family];
    if (!nothing) balance[family].add(instance.answer);
    const Stream wording = nothing ? Stream::nothing_wording : Stream::wording;
    Random text_random(task.seed, wording, task.image, part);
    add(instance, task.position, family, text_random, out);
    ++asked;
  }
}

void Generator::add(const Instance& instance, int64_t scene, size_t family, Random& random,
                    Batch& out) const {
  out.scene.push_back(static_cast<int32_t>(scene));
  out.family.push_back(static_cast<int16_t>(family));
  out.answer.push_back(static_cast<int16_t>(instance.answer));
  out.text.push_back(write_text(templates_[family], instance.values, vocabulary_,
                                settings_.search.expressions, random));
  for (const ProgramNode& node : instance.program) {
    out.function.push_back(node.function);
    out.inputs.insert(out.inputs.end(), node.inputs.begin(), node.inputs.end());
    out.objects.push_back(node.outcome.kind == Kind::object ? uint64_t{1} << node.outcome.value
                                                            : node.outcome.set);
  }
  out.offsets.push_back(static_cast<int64_t>(out.function.size()));
  add_prefix(instance.program, out.prefix);
  out.prefix_offsets.push_back(static_cast<int64_t>(out.prefix.size()));
}

}  // namespace pyvqa::world
