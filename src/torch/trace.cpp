// TorchScript by tracing. libtorch's own front end for this takes a function to call; here it is opened and closed around
// calls that Rust makes, so that no C++ frame lies between two Rust ones. What the module holds is registered under its
// names, in sub-modules at the dots, and read from there in the graph: another program sees parameters and buffers, not
// constants, and can move and train them.

#include "attempt.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/normalize_ops.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace jit = torch::jit;
namespace tracer = torch::jit::tracer;

namespace {

c10::QualifiedName type_name(const std::string& name) { return c10::QualifiedName("__torch__." + name); }

// A module with the registered tensors, and the graph's way to each of its parts.
struct Tree {
  std::shared_ptr<jit::CompilationUnit> unit = std::make_shared<jit::CompilationUnit>();
  jit::Module root{type_name("Network"), unit};
  std::unordered_map<std::string, jit::Module> modules;  // by path, such as "stage1.0"

  // The module of this path, made with all above it where they are not there yet.
  jit::Module at(const std::string& path) {
    if (path.empty()) return root;
    auto found = modules.find(path);
    if (found != modules.end()) return found->second;
    auto dot = path.rfind('.');
    auto parent = at(dot == std::string::npos ? "" : path.substr(0, dot));
    jit::Module made(type_name("Part"), unit, /*shouldMangle=*/true);
    parent.register_module(dot == std::string::npos ? path : path.substr(dot + 1), made);
    modules.emplace(path, made);
    return made;
  }
};

// The value of an attribute, by its dotted name.
jit::Value* attribute(jit::Graph& graph, jit::Value* self, const std::string& name) {
  size_t begin = 0;
  while (true) {
    auto dot = name.find('.', begin);
    self = graph.insertGetAttr(self, name.substr(begin, dot == std::string::npos ? dot : dot - begin));
    if (dot == std::string::npos) return self;
    begin = dot + 1;
  }
}

}  // namespace

// One trace, from its begin to its end or its drop. Tracing is a state of the thread: all three on the same one.
struct KilnTrace {
  Tree tree;
  std::shared_ptr<tracer::TracingState> state = std::make_shared<tracer::TracingState>();
  at::Tensor input;

  ~KilnTrace() {
    if (tracer::getTracingState() == state) tracer::setTracingState(nullptr);
  }
};

extern "C" {

// Registers the tensors and begins to record what this thread does with them and with the input.
int kiln_trace_begin(size_t n, const char* const* names, const at::Tensor* const* tensors, const int* trainable,
                     const at::Tensor* input, at::Tensor** traced, KilnTrace** out) {
  return attempt([&] {
    TORCH_CHECK(!tracer::isTracing(), "this thread is tracing another network");
    auto trace = std::make_unique<KilnTrace>();
    auto& tree = trace->tree;
    for (size_t i = 0; i < n; ++i) {
      std::string name = names[i];
      auto dot = name.rfind('.');
      auto owner = tree.at(dot == std::string::npos ? "" : name.substr(0, dot));
      auto own = dot == std::string::npos ? name : name.substr(dot + 1);
      if (trainable[i] != 0) owner.register_parameter(own, *tensors[i], /*is_buffer=*/false);
      else owner.register_buffer(own, *tensors[i]);
    }
    tree.root.eval();

    auto& graph = trace->state->graph;
    auto* self = graph->insertInput(0, "self")->setType(tree.root._ivalue()->type());
    tracer::setTracingState(trace->state);
    for (size_t i = 0; i < n; ++i) tracer::setValueTrace(*tensors[i], attribute(*graph, self, names[i]));
    // A tensor of its own, so that the caller's is not part of the trace.
    trace->input = input->alias();
    auto* images = graph->addInput("images");
    images->setType(c10::TensorType::get());
    tracer::setValueTrace(trace->input, images);
    *traced = new at::Tensor(trace->input);
    *out = trace.release();
  });
}

// Ends the recording with this output and writes the module, with texts beside it that readers may ask for by name.
int kiln_trace_end(KilnTrace* given, const at::Tensor* output, const char* path, size_t extras,
                   const char* const* extra_names, const char* const* extra_texts) {
  std::unique_ptr<KilnTrace> trace(given);
  return attempt([&] {
    auto& graph = trace->state->graph;
    graph->registerOutput(trace->state->getOutput(*output, 0));
    tracer::setTracingState(nullptr);
    jit::NormalizeOps(graph);
    jit::EliminateDeadCode(graph);
    auto& root = trace->tree.root;
    auto name = c10::QualifiedName(*root.type()->name(), "forward");
    root.type()->addMethod(trace->tree.unit->create_function(std::move(name), graph));
    jit::ExtraFilesMap files;
    for (size_t i = 0; i < extras; ++i) files[extra_names[i]] = extra_texts[i];
    root.save(path, files);
  });
}

// Gives a trace up.
void kiln_trace_drop(KilnTrace* trace) { delete trace; }

}  // extern "C"
