"""The networks of other projects, recognised in their files and rebuilt as modules that can be trained."""
