from copy import deepcopy


class ConfigurationManager:
    def __init__(self, configuration):
        self.configuration = configuration
        architecture = configuration["architecture"]
        self.network_arch_class_name = architecture["network_class_name"]
        self.network_arch_init_kwargs = architecture["arch_kwargs"]
        self.network_arch_init_kwargs_req_import = architecture["_kw_requires_import"]
        self.previous_stage_name = configuration.get("previous_stage")

    def __getattr__(self, name):
        if name.startswith("_") or name not in self.configuration:
            raise AttributeError(name)
        return self.configuration[name]


class PlansManager:
    def __init__(self, plans):
        self.plans = plans
        self.plans_name, self.dataset_name = plans["plans_name"], plans["dataset_name"]

    def get_configuration(self, name):
        return ConfigurationManager(deepcopy(self.plans["configurations"][name]))
