class SingleThreadedAugmenter:
    def __init__(self, data_loader, transform):
        self.data_loader, self.transform = data_loader, transform

    def __next__(self):
        return next(self.data_loader)
